"""The whole job in DuckDB's SQL: units, the nearest in the window, risk, interval, NDJSON out. Without exclusions, copies or refusals.

`python duckdb_job.py FOLDER OUT [select]`: with "select" only the bare selection (newest Mg, weight and height before it).
"""

import sys
from pathlib import Path

import duckdb

from model import load_artefact

SOURCE = """
create temp view observations as select id, code.coding[1].code as loinc, status,
  replace(subject.reference, 'Patient/', '') as patient, effectiveDateTime::timestamptz as t,
  effectiveDateTime as said, valueQuantity.value as value, valueQuantity.code as unit
from read_json('{folder}/Observation*.ndjson', format='newline_delimited', columns={{
  id: 'varchar', status: 'varchar', code: 'struct(coding struct(code varchar)[])',
  subject: 'struct(reference varchar)', effectiveDateTime: 'varchar',
  valueQuantity: 'struct("value" double, code varchar)'}});
create temp table people as select id as patient, birthDate as born
from read_json('{folder}/Patient*.ndjson', format='newline_delimited',
  columns={{id: 'varchar', gender: 'varchar', birthDate: 'date'}}) where gender = 'female';
create temp table units(loinc varchar, analyte varchar, unit varchar, factor double);
insert into units values
  ('2601-3','mg','mmol/L',1), ('2601-3','mg','mg/dL',0.41143), ('14879-1','p','mmol/L',1), ('14879-1','p','mg/dL',0.32285),
  ('41171-0','ctx','ng/mL',1), ('41171-0','ctx','pg/mL',0.001), ('77370-5','p1np','ng/mL',1), ('77370-5','p1np','ug/L',1),
  ('29463-7','weight','kg',1), ('29463-7','weight','g',0.001), ('8302-2','height','cm',1), ('8302-2','height','m',100);
"""
SELECT = """
with mg as (select patient, max(t) as t from observations where loinc = '2601-3' group by patient),
others as (select o.patient, o.loinc, arg_max(o.value, o.t) as value from observations o join mg using (patient)
  where o.loinc in ('29463-7', '8302-2') and o.t <= mg.t group by all)
select count(*) from others
"""
JOB = """
create temp table results as select o.patient, u.analyte, o.id, o.t, o.said, o.value * u.factor as value
from observations o join units u on o.loinc = u.loinc and o.unit = u.unit
where o.status in ('final', 'amended', 'corrected');
create temp table mg as select patient, arg_max(struct_pack(id := id, t := t, said := said, value := value), t) as m from results
where analyte = 'mg' group by patient;
create temp table nearest as
select r.patient, r.analyte, arg_min(struct_pack(id := r.id, value := r.value),
  struct_pack(late := r.t > m.t, days := abs(date_diff('day', m.t, r.t)))) as r
from results r join mg using (patient)
where r.analyte <> 'mg' and date_diff('day', m.t, r.t) between
  case r.analyte when 'weight' then -365 when 'height' then -3652 else -90 end and
  case r.analyte when 'weight' then 365 when 'height' then 3652 else 14 end
group by r.patient, r.analyte;
create temp table wide as pivot nearest on analyte in ('p','ctx','p1np','weight','height') using first(r) group by patient;
create temp table scored as select w.*, m, date_sub('year', p.born, m.t::date) as age,
  w.weight.value / (w.height.value / 100) ** 2 as bmi, m.value <= 0.845 as low
from wide w join mg using (patient) join people p using (patient);
create temp table centred as select *, {centred} from scored;
create temp table final as select *, {linear} as linear, {half} as half from centred;
copy (select unnest([{{'resourceType': 'RiskAssessment', 'status': 'final',
  'identifier': [{{'system': 'urn:x', 'value': 'urn:uuid:' || md5(patient || 'nomogram')}}],
  'subject': {{'reference': 'Patient/' || patient}}, 'occurrenceDateTime': m.said,
  'evidence': [{{'p': 'mg', 'v': m.value, 'o': m.id}}, {{'p': 'p', 'v': p.value, 'o': p.id}}, {{'p': 'ctx', 'v': ctx.value, 'o': ctx.id}},
    {{'p': 'p1np', 'v': p1np.value, 'o': p1np.id}}, {{'p': 'weight', 'v': weight.value, 'o': weight.id}},
    {{'p': 'height', 'v': height.value, 'o': height.id}}, {{'p': 'bmi', 'v': bmi, 'o': null}}],
  'probability': round(100 / (1 + exp(-linear)), 1), 'low': round(100 / (1 + exp(half - linear)), 1),
  'high': round(100 / (1 + exp(-half - linear)), 1), 'side': null}},
  {{'resourceType': 'RiskAssessment', 'status': 'final',
  'identifier': [{{'system': 'urn:x', 'value': 'urn:uuid:' || md5(patient || 'flag')}}],
  'subject': {{'reference': 'Patient/' || patient}}, 'occurrenceDateTime': m.said,
  'evidence': [{{'p': 'mg', 'v': m.value, 'o': m.id}}], 'probability': null, 'low': null, 'high': null,
  'side': case when low then 'at-or-below' else 'above' end}}], recursive := false) as r from final)
to '{out}' (format json)
"""


def main(folder: Path, out: Path, *, select: bool) -> None:
    """All of it, by two threads."""
    db = duckdb.connect()
    db.execute(f"set threads = {len(__import__('os').sched_getaffinity(0))}")
    db.execute(SOURCE.format(folder=folder))
    if select:
        db.execute(SELECT).fetchall()
        return
    out.mkdir(parents=True)
    db.execute(JOB.format(out=out / "RiskAssessment.ndjson", **formula()))


def formula() -> dict[str, str]:
    """The nomogram and its interval as SQL."""
    artefact = load_artefact("shi2026-mg-category")
    value = {"age_years": "age", "bmi_kg_m2": "bmi", "mg_mmol_l": "low::int", "p_mmol_l": "p.value",
             "ctx_ng_ml": "ctx.value", "p1np_ng_ml": "p1np.value"}  # fmt: skip
    terms = [f"({value[p.name]} - {p.centre}) as x{i}" for i, p in enumerate(artefact.predictors, start=1)]
    linear = " + ".join(
        [str(artefact.intercept), *(f"{p.coefficient} * x{i}" for i, p in enumerate(artefact.predictors, 1))]
    )
    covariance = artefact.covariance.tolist()
    x = ["1", *(f"x{i}" for i in range(1, len(covariance)))]
    variance = " + ".join(f"{covariance[i][j]} * {x[i]} * {x[j]}" for i in range(len(x)) for j in range(len(x)))
    return {"centred": ", ".join(terms), "linear": linear, "half": f"1.959963984540054 * sqrt({variance})"}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), select=len(sys.argv) > 3)
