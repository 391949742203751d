// the form, the tab's own session, and the run's progress
import { Card, make, sentence } from "./card.js";

const by = (id) => document.getElementById(id);
const form = by("settings");
const limits = { photos: +document.body.dataset.maxPhotos, bytes: +document.body.dataset.maxBytes };
const cards = new Map();
const EVERY = 300; // ms between two looks at the progress
// the secret lives in this variable alone, so that another tab, or a copy of this one, begins anew
let session;
let busy = false;
let pending = 0;
const unsaved = new Set();

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", ...options });
  } catch {
    throw new Error("omm app does not answer: is it still running in the terminal?");
  }
  const content = answer.headers.get("Content-Type")?.startsWith("application/json") ? await answer.json() : {};
  if (!answer.ok) throw new Error(content.error ?? "something went wrong here; the terminal shows what");
  return content;
}

// ---- errors

function complain(error, told = sentence(error.message)) {
  const close = make("button", { type: "button", title: "Dismiss" }, "×");
  close.setAttribute("aria-label", "Dismiss");
  const box = make("div", { className: "alert" }, make("p", {}, told), close);
  close.addEventListener("click", () => box.remove());
  by("errors").append(box);
}

const calm = () => by("errors").replaceChildren();

async function guarded(work, tell = (error) => complain(error)) {
  try {
    await work();
  } catch (error) {
    tell(error);
  }
}

// ---- photos in

async function add(files) {
  calm();
  pending += 1;
  for (const file of files) {
    await guarded(async () => {
      // the server refuses them too; here it costs no upload
      if (file.size > limits.bytes) throw new Error(`${file.name}: too large; the page takes files up to ${limits.bytes / 1e6} MB`);
      if (cards.size >= limits.photos) throw new Error(`${file.name}: there are ${limits.photos} photos already, and no more fit`);
      await ask(`${session}/photos?name=${encodeURIComponent(file.name)}`, { body: file });
      await refresh();
    }, (error) => complain(error, error.message)); // it begins with a file's name, as it is written
  }
  pending -= 1;
  await guarded(refresh);
}

by("files").addEventListener("change", async (event) => {
  const files = [...event.target.files];
  event.target.value = ""; // so that the same file can be chosen again
  await add(files);
});
const drop = by("drop");
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  // anywhere on the page: a photo that misses the zone must not replace the page
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop" && !busy) add(event.dataTransfer.files);
  });
}
by("samples").addEventListener("click", () => guarded(async () => {
  calm();
  await ask(`${session}/samples`);
  await refresh();
}));

// ---- the form

const epsilon = by("epsilon");
const chips = [...form.querySelectorAll("[data-epsilon]")];

function sayStrength() {
  const value = +epsilon.value;
  const exact = chips.find((chip) => +chip.dataset.epsilon === value);
  const below = chips.findLast((chip) => +chip.dataset.epsilon < value);
  const above = chips.find((chip) => +chip.dataset.epsilon > value);
  let words;
  if (exact) words = exact.dataset.meaning;
  else if (!below) words = `less than ${above.textContent}: ${above.dataset.meaning}`;
  else if (!above) words = `more than ${below.textContent}: ${below.dataset.meaning}`;
  else words = `between ${below.textContent} (${below.dataset.meaning}) and ${above.textContent} (${above.dataset.meaning})`;
  by("meaning").textContent = sentence(words);
  by("levels").textContent = `${value}/255`;
  epsilon.setAttribute("aria-valuetext", `${value} of 255`);
  for (const chip of chips) chip.setAttribute("aria-pressed", String(chip === exact));
}
epsilon.addEventListener("input", sayStrength);
for (const chip of chips) {
  chip.addEventListener("click", () => {
    epsilon.value = chip.dataset.epsilon;
    sayStrength();
  });
}

const authorized = by("authorized");

function sayModels() {
  const own = !authorized.value;
  by("own").hidden = !own;
  by("bundled").hidden = own;
  if (!own) form.dataset.task = authorized.selectedOptions[0].dataset.task;
  for (const row of form.querySelectorAll("[data-uri]")) {
    row.hidden = row.dataset.task !== form.dataset.task || row.dataset.uri === authorized.value;
  }
}
authorized.addEventListener("change", () => {
  sayModels();
  if (!authorized.value) by("authorized-uri").focus();
});

function choice() {
  const rows = [...form.querySelectorAll("[data-uri]:not([hidden])")];
  const picked = (role) => rows.filter((row) => row.querySelector("input:checked").value === role).map((row) => row.dataset.uri);
  const typed = (role) => by(`${role}-more`).value.split("\n").map((line) => line.trim()).filter(Boolean);
  return {
    authorized: authorized.value || by("authorized-uri").value.trim(),
    surrogates: [...picked("surrogates"), ...typed("surrogates")],
    heldout: [...picked("heldout"), ...typed("heldout")],
    epsilon: +epsilon.value,
    shape: form.elements.shape.value,
    recipe: form.elements.recipe.value,
    region: form.elements.region.value,
    steps: by("steps").value === "" ? null : +by("steps").value,
    keep_metadata: by("keep").checked,
  };
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (busy) return;
  guarded(async () => {
    calm();
    await ask(`${session}/run`, { body: JSON.stringify(choice()) });
    await watch();
  });
});
by("stop").addEventListener("click", () => guarded(async () => {
  by("stop").disabled = true;
  await ask(`${session}/stop`);
}));

// ---- what is going on

function say(run, photos) {
  const words = {
    queued: "Waiting for another tab's photos",
    loading: "Loading and checking the models",
    working: `Photo ${run.photo} of ${run.photos}` + (run.steps ? `, step ${run.step} of ${run.steps}` : ""),
  };
  by("doing").textContent = run.stopping ? "Stopping" : (words[run.phase] ?? "");
  const share = run.photos && run.photo ? (run.photo - 1 + (run.steps ? run.step / run.steps : 0)) / run.photos : 0;
  by("progress").querySelector("progress").value = share;
  const done = photos.filter((photo) => photo.status === "protected").length;
  const outcome = by("outcome");
  outcome.hidden = run.busy || !["done", "stopped"].includes(run.phase) || !photos.length;
  outcome.textContent = `${run.phase === "stopped" ? "Stopped. " : ""}${done} of ${photos.length} photos protected.`;
  by("saving").hidden = by("limits").hidden = run.busy || !done;
}

async function refresh() {
  const { run, photos } = await ask(`${session}/`, { method: "GET" });
  busy = run.busy;
  for (const [number, card] of cards) {
    if (!photos.some((photo) => photo.number === number)) {
      card.element.remove();
      unsaved.delete(number);
      cards.delete(number);
    }
  }
  for (const photo of photos) {
    if (!cards.has(photo.number)) {
      const card = new Card(session, photo, () => guarded(async () => {
        await ask(`${session}/photos/${photo.number}`, { method: "DELETE" });
        await refresh();
      }));
      card.find(".save").addEventListener("click", () => unsaved.delete(photo.number));
      cards.set(photo.number, card);
      by("photos").append(card.element);
    }
    if (cards.get(photo.number).update(photo, busy)) unsaved.add(photo.number);
  }
  document.body.classList.toggle("filled", photos.length > 0);
  by("run").disabled = busy || pending > 0 || !photos.length;
  by("run").hidden = busy;
  by("stop").hidden = !busy;
  by("stop").disabled = run.stopping;
  by("progress").hidden = !busy;
  by("files").disabled = by("samples").disabled = busy;
  say(run, photos);
  return run;
}

async function watch() {
  let run = await refresh();
  while (run.busy) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    run = await refresh();
  }
  if (run.sentence) complain(new Error(run.sentence));
}

by("zip").addEventListener("click", () => unsaved.clear());
addEventListener("beforeunload", (event) => {
  if (busy || unsaved.size) event.preventDefault();
});
addEventListener("pagehide", () => session && navigator.sendBeacon(`${session}/close`));
addEventListener("pageshow", (event) => event.persisted && location.reload());

sayStrength();
sayModels();
guarded(async () => {
  session = `sessions/${(await ask("sessions")).session}`;
  by("zip").href = `${session}/all.zip`;
  by("toml").href = `${session}/run.toml`;
  await refresh();
  document.body.classList.add("ready");
});
