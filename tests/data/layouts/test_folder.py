"""Layout "folder": whose scan is it? Splits and modalities are tested with the preparation of a store."""

from medley.data.layouts.folder import studies


def test_the_series_of_a_patient_belong_to_one_subject(phantoms, tmp_path):
    def named(patient):
        return lambda ds, k: setattr(ds, "PatientID", patient)

    phantoms.write_ct_series(tmp_path / "a" / "first", change=named("17"), seed=1)
    phantoms.write_pet_series(tmp_path / "a" / "second", change=named("17"), seed=2)
    phantoms.write_ct_series(tmp_path / "b", change=named("18"), seed=3)
    phantoms.write_ct_series(tmp_path / "c", change=named(""), seed=4)
    found = {one.source: one.subject for one in studies(tmp_path)}
    assert found == {"a/first": "17", "a/second": "17", "b": "18", "c": "c"}
