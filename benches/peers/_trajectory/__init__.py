"""What `trajectory.py` compares: data sets, contenders, measurements, report and plot."""

import os

# Frames that were decoded are not kept: what is measured is decoding.
os.environ["PROTEINFLEX_DECODED_MB"] = "0"
# One thread each. Libraries read these when they are imported, so they are set before anything is.
for variable in ("OMP_NUM_THREADS", "BLOSC_NTHREADS", "PROTEINFLEX_NUM_THREADS"):
    os.environ[variable] = "1"
