"use strict";
(() => {
  const table = document.getElementById("tests");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const rows = [...body.rows].map(row => ({ row, text: row.cells[0].textContent.toLowerCase() }));

  // Metrics can be beyond what a double holds exactly; as keys they need only keep their order.
  const key = (row, column) => Number(row.cells[column].dataset.v);

  function sort(column, direction) {
    const byText = heads[column].dataset.sort === "text";
    rows.sort((a, b) => {
      const order = byText ? a.text.localeCompare(b.text) : key(a.row, column) - key(b.row, column);
      return (order || a.text.localeCompare(b.text) * direction) * direction;
    });
    heads.forEach((head, index) => {
      if (index === column) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    body.append(...rows.map(entry => entry.row));
  }

  heads.forEach((head, column) => {
    if (!head.dataset.sort) return;
    head.tabIndex = 0;
    const turn = () => {
      const now = head.getAttribute("aria-sort");
      const first = head.dataset.sort === "text" ? 1 : -1;
      sort(column, now ? (now === "ascending" ? -1 : 1) : first);
    };
    head.addEventListener("click", turn);
    head.addEventListener("keydown", event => { if (event.key === "Enter") turn(); });
  });
  heads[2].setAttribute("aria-sort", "descending");

  function apply() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const { row, text } of rows) {
      const hit = words.every(word => text.includes(word));
      row.hidden = !hit;
      left += hit;
    }
    shown.textContent = words.length ? `${left} of ${rows.length}` : "";
  }
  filter.addEventListener("input", apply);
  document.addEventListener("keydown", event => {
    if (event.key === "/" && document.activeElement !== filter) { event.preventDefault(); filter.focus(); }
    if (event.key === "Escape") { filter.value = ""; apply(); }
  });
  apply();

  const time = document.querySelector("time");
  const started = Number(time.dataset.ms);
  if (started) { time.dateTime = new Date(started).toISOString(); time.textContent = new Date(started).toLocaleString(); }
  else time.remove();
})();
