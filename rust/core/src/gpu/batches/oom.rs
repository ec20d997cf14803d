//! Telling "out of memory" from every other failure, whichever library says it.

/// What the libraries of this field say when memory runs out, in lower case. Phrases, not words:
/// "memory" alone is in many errors that a smaller batch does not mend.
const PHRASES: [&str; 17] = [
    // torch: OutOfMemoryError, AcceleratorError, asynchronous driver errors, host allocations.
    "cuda out of memory",
    "hip out of memory",
    "cuda error: out of memory",
    "cuda driver error: out of memory",
    "defaultcpuallocator: can't allocate memory",
    "defaultcpuallocator: not enough memory",
    "cudaerrormemoryallocation",
    // The driver's own name, as OpenMM, CuPy and Numba print it.
    "cuda_error_out_of_memory",
    // cuBLAS and cuDNN.
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cudnn_status_internal_error_device_allocation_failed",
    // cuDNN says these when no algorithm's workspace fits.
    "unable to find an engine to execute this computation",
    "cudnn error: cudnn_status_not_supported",
    // JAX and XLA.
    "resource_exhausted",
    // NCCL.
    "failed to cuda calloc",
    // OpenCL, which OpenMM may run on.
    "cl_mem_object_allocation_failure",
    "clenqueuenkernel (-4)",
];

/// Classes that mean it by themselves.
const CLASSES: [&str; 2] = ["OutOfMemoryError", "MemoryError"];

/// Whether an error of this class and text says that memory ran out.
pub fn is_out_of_memory(class: &str, message: &str) -> bool {
    if CLASSES.contains(&class) {
        return true;
    }
    let message = message.to_lowercase();
    PHRASES.iter().any(|phrase| message.contains(phrase))
        // NCCL hides the CUDA error behind its own words, in this order.
        || message.contains("nccl error") && message.contains("out of memory")
        // OpenMM: "Error creating array posq: …", "Error downloading array …: out of memory".
        || message.contains("error creating array") && message.contains("(2)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ten_ways_to_run_out_of_memory_are_recognised() {
        for (class, message) in [
            ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; …)"),
            ("RuntimeError", "CUDA error: out of memory\nCUDA kernel errors might be …"),
            (
                "AcceleratorError",
                "CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'",
            ),
            ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
            ("RuntimeError", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
            ("RuntimeError", "Unable to find an engine to execute this computation"),
            (
                "XlaRuntimeError",
                "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 bytes",
            ),
            ("OpenMMException", "Error creating array posq: CUDA_ERROR_OUT_OF_MEMORY (2)"),
            (
                "DistBackendError",
                "NCCL error in: x.cpp:1, unhandled cuda error\nCuda failure 2 'out of memory'",
            ),
            ("MemoryError", ""),
        ] {
            assert!(is_out_of_memory(class, message), "{class}: {message}");
        }
    }

    #[test]
    fn other_failures_are_not_mistaken_for_it() {
        for (class, message) in [
            ("RuntimeError", "CUDA error: an illegal memory access was encountered"),
            ("RuntimeError", "CUDA error: device-side assert triggered"),
            (
                "RuntimeError",
                "CUDA error: no kernel image is available for execution on the device",
            ),
            ("RuntimeError", "expected contiguous memory format"),
            ("ValueError", "the list of memory_total values is out of range"),
            ("OSError", "[Errno 28] No space left on device"),
            ("RuntimeError", "DataLoader worker (pid 7) is killed by signal: Killed."),
            ("OpenMMException", "Particle coordinate is NaN"),
        ] {
            assert!(!is_out_of_memory(class, message), "{class}: {message}");
        }
    }
}
