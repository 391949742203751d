// the form: which models, how visible, and why nothing can start yet
import { make, sentence } from "./card.js";

const by = (id) => document.getElementById(id);
const form = by("settings");
const slider = by("visibility");
const chips = [...form.querySelectorAll("[data-stop]")];
const picked = () => form.querySelector("[name=choice]:checked");
const lines = (id) => by(id).value.split("\n").map((line) => line.trim()).filter(Boolean);
const isOwn = () => picked().value === "";

// called with the slider's stop, and the largest change that replaces it or 0
let onVisibility = () => {};

function sayVisibility() {
  const evenly = +by("epsilon").value || 0;
  const stop = +slider.value;
  const exact = chips.find((chip) => +chip.dataset.stop === stop);
  const below = chips.findLast((chip) => +chip.dataset.stop < stop);
  const above = chips.find((chip) => +chip.dataset.stop > stop);
  let words;
  if (evenly) words = `every pixel may change by ${evenly}/255, as set below`;
  else if (exact) words = exact.dataset.meaning;
  else if (!below) words = `less than ${above.textContent}: ${above.dataset.meaning}`;
  else if (!above) words = `more than ${below.textContent}: ${below.dataset.meaning}`;
  else words = `between ${below.textContent} (${below.dataset.meaning}) and ${above.textContent} (${above.dataset.meaning})`;
  const limit = `SSIM ≥ ${(1 - stop / 100).toFixed(2)}`;
  by("meaning").textContent = sentence(words);
  by("limit").textContent = limit;
  slider.disabled = evenly > 0;
  slider.setAttribute("aria-valuetext", exact ? `${exact.textContent}, ${limit}` : limit);
  for (const chip of chips) {
    chip.setAttribute("aria-pressed", String(chip === exact));
    chip.disabled = evenly > 0;
  }
  onVisibility(stop, evenly);
}

// a choice brings its own visibility along
function takeChoice() {
  const { visibility } = picked().dataset;
  if (visibility) slider.value = visibility;
  sayVisibility();
  sayModels();
}

function sayModels() {
  const data = picked().dataset;
  by("own").hidden = !isOwn();
  by("people").hidden = data.gallery === undefined;
  by("listed").hidden = isOwn();
  // recipes for whole photos destroy what models of aligned faces see
  form.querySelector("[aria-label=Recipe]").hidden = data.gallery !== undefined;
  if (isOwn()) return;
  for (const role of ["authorized", "surrogates", "heldout"]) {
    by("listed").querySelector(`.${role}`).replaceChildren(
      ...data[role].split("\n").filter(Boolean).map((uri) => make("span", { className: "uri" }, uri)),
    );
  }
}

// why a run cannot start, in a sentence; "" where it can
export function missing() {
  const problems = [
    [picked().dataset.gallery !== undefined && !by("gallery").value.trim(), "Name the folder of people first."],
    [isOwn() && !by("authorized").value.trim(), "Name the authorized model first."],
    [isOwn() && !lines("surrogates").length, "Name at least one stand-in first."],
  ];
  return problems.find(([wrong]) => wrong)?.[1] ?? "";
}

export function choice() {
  const number = (id) => (by(id).value === "" ? null : +by(id).value);
  const evenly = number("epsilon");
  const models = { authorized: by("authorized").value.trim(), surrogates: lines("surrogates"), heldout: lines("heldout") };
  const gallery = picked().dataset.gallery !== undefined;
  return {
    choice: picked().value,
    ...(isOwn() ? models : {}),
    ...(gallery ? { gallery: by("gallery").value.trim() } : {}),
    ...(evenly === null ? { visibility: +slider.value } : { epsilon: evenly }),
    recipe: gallery ? null : form.elements.recipe.value || null,
    region: form.elements.region.value || null,
    steps: number("steps"),
    metadata: by("metadata").value,
  };
}

// the region that a run would have
export function region() {
  return form.elements.region.value || picked().dataset.region || "";
}

// use a choice, as if the person had clicked it
export function choose(key) {
  form.querySelector(`[name=choice][value="${key}"]`).checked = true;
  takeChoice();
}

export function watchForm(onChange, onVisibilityChange) {
  onVisibility = onVisibilityChange;
  slider.addEventListener("input", sayVisibility);
  by("epsilon").addEventListener("input", sayVisibility);
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      slider.value = chip.dataset.stop;
      sayVisibility();
    });
  }
  for (const radio of form.querySelectorAll("[name=choice]")) {
    radio.addEventListener("change", () => {
      takeChoice();
      if (isOwn()) by("authorized").focus();
    });
  }
  form.addEventListener("input", onChange);
  takeChoice();
}
