// The keyboard: `/` filters, j and k or arrows move, Enter opens (rows are links), Esc closes, ? shows the keys.

const VIEWS = ["#/workloads", "#/problems", "#/routes", "#/apps"];

const rows = () => [...document.querySelectorAll("main [data-row]")];

function move(step) {
  const all = rows();
  const at = all.indexOf(document.activeElement);
  const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)];
  next?.focus({ preventScroll: true });
  next?.closest("tr, article, li").scrollIntoView({ block: "nearest" });
  return next !== undefined;
}

/** Listens, until the page is closed. */
export function listen(filter, help, back) {
  document.getElementById("show-keys").addEventListener("click", () => help.showModal());
  document.addEventListener("keydown", (event) => {
    // A dialog has the keys while it is open, and what is typed with these is the browser's.
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const writing = event.target === filter;
    if (writing && !["Escape", "ArrowDown", "Enter"].includes(event.key)) return;
    switch (event.key) {
      case "/": filter.focus(); filter.select(); break;
      case "?": help.showModal(); break;
      // Where there are no rows, arrows scroll.
      case "j": case "ArrowDown": if (!move(1)) return; break;
      case "k": case "ArrowUp": if (!move(-1)) return; break;
      case "Enter": if (!writing) return; move(1); break;
      case "Escape":
        if (!writing) { back(); break; }
        if (filter.value) { filter.value = ""; filter.dispatchEvent(new Event("input")); }
        else filter.blur();
        break;
      default: {
        const view = VIEWS[Number(event.key) - 1];
        if (!view) return;
        location.hash = view;
      }
    }
    event.preventDefault();
  });
}
