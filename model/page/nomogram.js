"use strict";

// The same sums in the same order as model/nomogram.py.

function assess(nomogram, values, flagged) {
  const centred = nomogram.predictors.map((p) => (p.form === "category" ? Number(flagged) : values[p.name]) - p.centre);
  let linear = nomogram.intercept;
  let total = 0;
  const points = {};
  const extrapolated = [];
  nomogram.predictors.forEach((p, i) => {
    const contribution = p.coefficient * centred[i];
    linear += contribution;
    points[p.name] = (contribution - p.leastEffect) * nomogram.pointsPerLogit;
    total += points[p.name];
    if (values[p.name] < p.development[0] || values[p.name] > p.development[1]) extrapolated.push(p.name);
  });
  const half = nomogram.z * Math.sqrt(variance(nomogram.covariance, centred));
  return {
    risk: risk(linear), low: risk(linear - half), high: risk(linear + half),
    linearPredictor: linear, points, totalPoints: total, extrapolated,
  };
}

function variance(covariance, centred) {
  let sum = covariance[0][0];
  centred.forEach((x, index) => {
    const i = index + 1;
    let inner = covariance[i][i] * x + 2 * covariance[i][0];
    for (let j = 1; j < i; j += 1) inner += 2 * covariance[i][j] * centred[j - 1];
    sum += inner * x;
  });
  return Math.max(sum, 0);
}

const risk = (linear) => 1 / (1 + Math.exp(-linear));

// The nomogram that uses most of what is there; null where none does.
function nomogramFor(model, available) {
  const usable = [model.whole, ...model.reduced].filter((n) => n.predictors.every((p) => available.has(p.name)));
  return usable.reduce((best, n) => (best === null || n.predictors.length > best.predictors.length ? n : best), null);
}

// Decimals as whole numbers and a scale, so that 0.845 is compared as it is printed and not as a float.

function decimal(text) {
  const match = /^([0-9]*)(?:[.,]([0-9]*))?$/.exec(text.trim());
  if (!match || !(match[1] || match[2])) return null;
  const fraction = match[2] || "";
  return { digits: BigInt((match[1] || "0") + fraction), scale: fraction.length };
}

function compare(value, unit, limit) {  // the sign of value x numerator / denominator - limit
  const [v, n, d, l] = [value, decimal(unit.numerator), decimal(unit.denominator), decimal(limit)];
  const left = v.digits * n.digits * 10n ** BigInt(d.scale + l.scale);
  const right = l.digits * d.digits * 10n ** BigInt(v.scale + n.scale);
  return left < right ? -1 : Number(left > right);
}

function number(value, unit) {
  return (Number(value.digits) / 10 ** value.scale) * Number(unit.numerator) / Number(unit.denominator);
}

// What is typed: {field name: {text, unit}}. Returns what is known of the woman and what is wrong with what was typed.
function read(model, typed) {
  const values = {};
  const wrong = {};
  let flagged = null;
  let nearCutOff = false;
  for (const field of model.fields) {
    const { text, unit } = typed[field.name];
    if (!text.trim()) continue;
    const value = decimal(text);
    const found = value === null ? NaN : number(value, field.units[unit]);
    if (!(found >= field.least && found <= field.most)) {
      wrong[field.name] = "This can be no measurement in this unit.";
      continue;
    }
    values[field.name] = found;
    if (field.name === "mg_mmol_l") {
      flagged = compare(value, field.units[unit], model.cutOff) <= 0;
      nearCutOff = Math.abs(found - Number(model.cutOff)) <= Number(model.imprecision) + 1e-12;
    }
  }
  if ("weight" in values && "height" in values) {
    values.bmi_kg_m2 = values.weight / (values.height / 100) ** 2;
    const possible = model.whole.predictors.find((p) => p.name === "bmi_kg_m2").possible;
    if (!(values.bmi_kg_m2 >= possible[0] && values.bmi_kg_m2 <= possible[1])) {
      wrong.weight = "Weight and height do not go together.";
      delete values.bmi_kg_m2;
    }
  }
  return { values, wrong, flagged, nearCutOff };
}

// The page.

const LABELS = {
  age_years: "Age", bmi_kg_m2: "Body mass index", mg_mmol_l: "Magnesium", p_mmol_l: "Phosphate", ctx_ng_ml: "Beta-CTx", p1np_ng_ml: "P1NP",
};
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const element = (id) => document.getElementById(id);

function show(model) {
  const typed = {};
  for (const field of model.fields) {
    typed[field.name] = { text: element(field.name).value, unit: Number(element(`${field.name}-unit`).value) };
  }
  const woman = read(model, typed);
  for (const field of model.fields) {
    const problem = woman.wrong[field.name] || "";
    element(`${field.name}-problem`).textContent = problem;
    element(field.name).setAttribute("aria-invalid", String(Boolean(problem)));
  }
  showFlag(woman);
  showRisk(model, woman);
}

function showFlag(woman) {
  const words = { true: "At or below 0.845 mmol/L: flagged", false: "Above 0.845 mmol/L: not flagged", null: "Magnesium is needed" };
  element("flag").textContent = words[String(woman.flagged)];
}

function showRisk(model, woman) {
  const nomogram = woman.flagged === null ? null : nomogramFor(model, new Set(Object.keys(woman.values)));
  const notes = [];
  const rows = element("contributions");
  rows.replaceChildren();
  element("result").hidden = nomogram === null;
  if (nomogram === null) {
    element("risk").textContent = "Age, weight, height and magnesium are needed at least";
    element("interval").textContent = "";
    element("total").textContent = "";
  } else {
    const found = assess(nomogram, woman.values, woman.flagged);
    element("risk").textContent = percent(found.risk);
    element("interval").textContent = `${Math.round(100 * nomogram.level)} % interval of the model: ${percent(found.low)} to ${percent(found.high)}`;
    element("total").textContent = found.totalPoints.toFixed(1);
    const most = Math.max(...nomogram.predictors.map((p) => Math.abs(found.points[p.name])), 1);
    for (const p of nomogram.predictors) rows.append(row(p, woman, found.points[p.name], most));
    if (nomogram.name !== model.whole.name) {
      const missing = model.whole.predictors.filter((p) => !(nomogram.predictors.some((q) => q.name === p.name)));
      notes.push(`A reduced model is used, without ${missing.map((p) => LABELS[p.name]).join(", ")}: it knows less than the whole one.`);
    }
    if (found.extrapolated.length) {
      notes.push(`Outside the range of the women from whom the model was made: ${found.extrapolated.map((n) => LABELS[n]).join(", ")}.`);
    }
    if (woman.nearCutOff) {
      const other = assess(nomogram, woman.values, !woman.flagged);
      const category = nomogram.predictors.some((p) => p.form === "category");
      notes.push("Magnesium lies so near the cut-off that a repeated measurement could fall on the other side"
        + (category ? `, where the estimate would be ${percent(other.risk)}.` : "."));
    }
  }
  element("notes").replaceChildren(...notes.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

function row(predictor, woman, points, most) {
  const line = document.createElement("tr");
  const head = Object.assign(document.createElement("th"), { scope: "row", textContent: LABELS[predictor.name] });
  const value = predictor.form === "category"
    ? (woman.flagged ? "at or below the cut-off" : "above the cut-off")
    : `${Number(woman.values[predictor.name].toPrecision(4))} ${predictor.unit === "a" ? "years" : predictor.unit}`;
  const bar = document.createElement("meter");
  Object.assign(bar, { min: 0, max: most, value: Math.max(points, 0) });
  bar.setAttribute("aria-hidden", "true");
  const cells = [value, points.toFixed(1)].map((text) => Object.assign(document.createElement("td"), { textContent: text }));
  cells[1].className = "n";
  const drawn = document.createElement("td");
  drawn.append(bar);
  line.append(head, ...cells, drawn);
  return line;
}

function connect(model, field) {
  const [text, slider, unit] = [element(field.name), element(`${field.name}-slider`), element(`${field.name}-unit`)];
  const scale = () => {
    const factor = Number(field.units[unit.value].denominator) / Number(field.units[unit.value].numerator);
    const own = Number(field.units[0].numerator) / Number(field.units[0].denominator);
    slider.min = String(field.low * own * factor);
    slider.max = String(field.high * own * factor);
    slider.step = unit.value === "0" ? String(field.step) : "any";
  };
  const follow = () => {
    const value = decimal(text.value);
    if (value !== null) slider.value = String(Number(value.digits) / 10 ** value.scale);
    slider.classList.toggle("unset", value === null);
    slider.setAttribute("aria-valuetext", `${text.value || "not given"} ${unit.selectedOptions[0].textContent}`);
    show(model);
  };
  text.addEventListener("input", follow);
  slider.addEventListener("input", () => {
    text.value = unit.value === "0" ? slider.value : String(Number(Number(slider.value).toPrecision(4)));
    follow();
  });
  unit.addEventListener("change", () => { scale(); follow(); });
  scale();
  follow();
}

const MODEL = JSON.parse(element("model").textContent);
MODEL.fields.forEach((field) => connect(MODEL, field));
element("form").addEventListener("reset", () => setTimeout(() => {
  MODEL.fields.forEach((field) => element(`${field.name}-unit`).dispatchEvent(new Event("change")));
}));
