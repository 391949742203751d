// overlay original and protected photo: differences are easier to see than side by side
for (const pair of document.querySelectorAll(".pair")) {
  const original = pair.querySelector(".original img");
  for (const figure of pair.querySelectorAll(".protected")) {
    const after = figure.querySelector("img");
    const caption = figure.querySelector("figcaption");
    const stage = document.createElement("div");
    const range = document.createElement("input");
    const update = () => {
      // set by script, not by an attribute: the page's policy allows no inline styles
      after.style.clipPath = `inset(0 0 0 ${range.value}%)`;
      range.setAttribute("aria-valuetext", `${range.value}% original, ${100 - range.value}% protected`);
    };
    stage.className = "stage";
    range.type = "range";
    range.min = 0;
    range.max = 100;
    range.value = 50;
    range.autocomplete = "off";
    range.setAttribute("aria-label", `Compare original and protected: ${after.alt}`);
    range.addEventListener("input", update);
    after.before(stage);
    stage.append(original.cloneNode(), after, range);
    const label = document.createElement("span");
    label.className = "middle";
    label.textContent = "Original";
    caption.prepend(label);
    update();
  }
  pair.classList.add("sliding");
}

// paper cannot open what is closed
const references = [...document.querySelectorAll("details.reference")];
let closed = [];
addEventListener("beforeprint", () => {
  closed = references.filter((details) => !details.open);
  for (const details of closed) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of closed) details.open = false;
});
