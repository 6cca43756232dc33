"""Files that hold the same bytes: never in two parts that are cut here, and said where they come so."""

import hashlib
import os
from collections import defaultdict

import numpy as np
import torch

from deit_edu.data.decode import in_threads
from deit_edu.data.splits import hold_out


def content_groups(paths):
    """A number for the content of each file: equal where the bytes are. Returns (n,) int64.

    Only files of the same length are read. One that cannot be read is like no other.
    """
    of_length = defaultdict(list)
    for index, path in enumerate(paths):
        try:
            of_length[os.path.getsize(path)].append(index)
        except OSError:
            pass
    groups = np.arange(len(paths))
    asked = [index for indices in of_length.values() if len(indices) > 1 for index in indices]
    first = {}
    for index, key in zip(asked, in_threads(file_digest, [paths[index] for index in asked]), strict=True):
        groups[index] = first.setdefault(key or index, index)
    return groups


def file_digest(path):
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha1").digest()
    except OSError:
        return None


def hold_out_groups(labels, groups, one_in=10):
    """As `hold_out`, but files of one content go together: one of each is drawn, the others follow it.

    labels, groups: (n,) int64. Returns (kept, held out): two sorted index tensors.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    _, held_out = hold_out(labels[np.sort(first)], one_in)
    drawn = np.zeros(len(groups), bool)
    drawn[np.sort(first)[held_out.numpy()]] = True
    held = drawn[first[group]]
    return torch.from_numpy(np.flatnonzero(~held)), torch.from_numpy(np.flatnonzero(held))


def same_content(listings, groups):
    """Where files with the same bytes lie: [(paths of one content, their parts, their labels)], two or more each.

    listings: {part: Listing}. groups: {path: `content_groups`}.
    """
    files = [
        (path, part, label)
        for part, listing in listings.items()
        for path, label in zip(listing.paths, listing.labels.tolist(), strict=True)
    ]
    members = defaultdict(list)
    for file in files:
        members[groups[file[0]]].append(file)
    return [tuple(map(list, zip(*same, strict=True))) for same in members.values() if len(same) > 1]
