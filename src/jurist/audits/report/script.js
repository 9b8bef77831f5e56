(() => {
  let found = [];
  let at = -1;
  const look = () => {
    const all = [...document.querySelectorAll(".finding")];
    found = all.filter((one) => !one.closest("details:not([open])"));
  };
  const go = (to) => {
    if (!found.length) return;
    at = Math.min(Math.max(to, 0), found.length - 1);
    found[at].focus({ preventScroll: true });
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    found[at].scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
  };
  const here = () => {
    const inside = document.activeElement && document.activeElement.closest(".finding");
    return inside ? found.indexOf(inside) : at;
  };
  addEventListener("keydown", (key) => {
    if (key.ctrlKey || key.metaKey || key.altKey) return;
    look();
    if (key.key === "j") go(here() + 1);
    else if (key.key === "k") go(here() - 1);
    else if (key.key === "e" && here() >= 0) {
      const parts = [...found[here()].querySelectorAll("details:not(.numbers)")];
      const open = parts.some((one) => !one.open);
      parts.forEach((one) => { one.open = open; });
    } else return;
    key.preventDefault();
  });
  document.querySelector(".keyboard").hidden = false;
})();
