// The page of a run in the reader's theme, and in the other one at the press of a button.
// A classic script.
(() => {
  "use strict";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const show = (/** @type {boolean} */ isDark) => {
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
  };
  show(dark.matches);
  dark.addEventListener("change", () => show(dark.matches));
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("button.theme");
    button.addEventListener("click", () => show(document.documentElement.dataset.theme !== "dark"));
  });
})();
