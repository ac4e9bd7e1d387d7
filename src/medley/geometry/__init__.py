"""How scans lie in the patient: orientation, resampling, the body."""
