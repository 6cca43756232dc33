"""Processes that start at once: forked from one that has imported the library and has computed nothing yet."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

from deit_edu.evidence import runner

CONTEXT = multiprocessing.get_context("forkserver")
# What a test's module imports, too, and what DistributedDataParallel does when it is made.
CONTEXT.set_forkserver_preload(["deit_edu.evidence.runner", "pytest", "torch._dynamo"])


def start(function, *arguments):
    """A process that calls a function of a module."""
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process


class Fork:
    """A process that calls a function, forked from this one, which has computed in one thread only."""

    def __init__(self, function, *arguments):
        self.exitcode, self.pid = None, os.fork()
        if self.pid == 0:
            try:
                function(*arguments)
            finally:
                os._exit(1)  # `job` ends by itself

    def join(self):
        if self.exitcode is None:
            self.exitcode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


class Popen:
    """What `runner.Job` uses of subprocess.Popen, for its process and no other; its number lies beside its log.

    Args:
        prepare: a function of a module, called in the process before anything else. The others: as of subprocess.Popen.
    """

    start = staticmethod(start)  # in a process that was itself started so: Fork, or another server would be imported

    def __init__(self, prepare, arguments, stdin, stdout, stderr, env, start_new_session):
        reads, to_job = CONTEXT.Pipe(duplex=False)
        from_job, writes = CONTEXT.Pipe(duplex=False)
        self.process = self.start(job, prepare, reads, writes, stderr.name, env)
        Path(stderr.name).with_name("pid").write_text(str(self.process.pid))
        reads.close()
        writes.close()
        self.stdin, self.stdout = os.fdopen(os.dup(to_job.fileno()), "wb"), os.fdopen(os.dup(from_job.fileno()), "rb")
        to_job.close()  # the job ends when our end of its stdin is closed: there is only one
        from_job.close()
        self.waiting = threading.Lock()

    def wait(self):
        with self.waiting:
            self.process.join()
        return self.process.exitcode

    def kill(self):
        self.process.kill()


def job(prepare, reads, writes, log, env):
    """The process: its pipes where `runner.work` looks for them."""
    with open(log, "ab") as errors:
        for connection, number in ((reads, 0), (writes, 1), (errors, 2)):
            os.dup2(connection.fileno(), number)
    os.closerange(3, 1024)  # what a fork has of others' pipes would keep those open
    os.environ.update(env)
    prepare()
    runner.sys.stdin = os.fdopen(0, closefd=False)
    os._exit(runner.work())
