// What a page can do without: copy buttons, and a word where a request of htmx came to nothing.
"use strict";

for (const button of document.querySelectorAll("[data-copies]")) {
  if (!navigator.clipboard) break; // only in a secure context
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent);
    button.textContent = button.dataset.done;
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}

for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, () => {
    const answer = document.getElementById("answer");
    if (!answer) return;
    const notice = document.createElement("div");
    notice.className = "notice bad";
    notice.textContent = answer.dataset.failed;
    answer.replaceChildren(notice);
  });
}
