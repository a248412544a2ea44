(() => {
  const map = document.getElementById("map");
  if (!map) return;
  const where = document.getElementById("where"), out = document.getElementById("out");
  const whole = map.getAttribute("viewBox"), start = where.textContent;
  const tell = (node) => {
    const part = node && node.closest("g");
    where.textContent = part ? part.querySelector("title").textContent : start;
  };
  const zoom = (node) => {
    const box = node && node.querySelector("rect");
    map.setAttribute("viewBox", box ? ["x", "y", "width", "height"].map((name) => box.getAttribute(name)).join(" ") : whole);
    out.hidden = !box;
  };
  map.addEventListener("pointermove", (event) => tell(event.target));
  map.addEventListener("pointerleave", () => tell(null));
  map.addEventListener("focusin", (event) => tell(event.target));
  map.addEventListener("click", (event) => zoom(event.target.closest(".group")));
  map.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      zoom(event.target.closest(".group"));
    } else if (event.key === "Escape") zoom(null);
  });
  out.addEventListener("click", () => zoom(null));
})();
