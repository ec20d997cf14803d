//! A scripted `libnvidia-ml.so` for tests on machines without a GPU.
