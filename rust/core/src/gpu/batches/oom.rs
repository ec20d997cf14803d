//! Telling "out of memory" from every other failure, whichever library says it.

/// What the libraries of this field say when memory runs out, in lower case. Phrases, not words:
/// "memory" alone is in many errors that a smaller batch does not mend.
const PHRASES: [&str; 27] = [
    // torch: OutOfMemoryError, AcceleratorError, asynchronous driver errors, host allocations.
    "out of memory. tried to allocate",
    "cuda out of memory",
    "hip out of memory",
    "mps backend out of memory",
    "cuda error: out of memory",
    "cuda driver error: out of memory",
    "defaultcpuallocator: can't allocate memory",
    "defaultcpuallocator: not enough memory",
    "cudaerrormemoryallocation",
    // The driver's own names, as OpenMM, CuPy and Numba print them.
    "cuda_error_out_of_memory",
    "hiperroroutofmemory",
    // cuBLAS, cuSOLVER, cuSPARSE, cuDNN and AMD's: `CUBLAS_STATUS_ALLOC_FAILED` and so on.
    "_status_alloc_failed",
    "cuda error: resource allocation failed when calling `cusparse",
    "insufficient resources when calling `cusparse",
    "cusparse_status_insufficient_resources",
    "cudnn_status_internal_error_device_allocation_failed",
    "cudnn_status_internal_error_host_allocation_failed",
    // cuDNN says these when no algorithm's workspace fits.
    "unable to find an engine to execute this computation",
    "cudnn error: cudnn_status_not_supported",
    // cuFFT, hipFFT, cuRAND.
    "fft_alloc_failed",
    "curand_status_allocation_failed",
    // JAX and XLA.
    "resource_exhausted",
    // NCCL.
    "failed to cuda calloc",
    "failed to cuda malloc",
    // OpenCL by name, as PyOpenCL and others print it.
    "mem_object_allocation_failure",
    "cl_out_of_host_memory",
    // C++ on the host.
    "std::bad_alloc",
];

/// Phrases that mean it together only.
const COMBINATIONS: [&[&str]; 8] = [
    // XLA, of constants.
    &["failed to allocate ", " bytes"],
    // NCCL hides the CUDA error behind its own words.
    &["nccl error", "out of memory"],
    // torch's allocator fails so while it writes the message of an OutOfMemoryError, where NVML
    // does not work: in containers, on MIG devices, on Jetson.
    &["nvml_success ==", "internal assert failed", "cudacachingallocator"],
    // OpenMM on CUDA, HIP and OpenCL: the number is the library's. A buffer of OpenCL that is
    // larger than the device is an invalid size (-61), or more than its resources (-5).
    &["error creating array", "(2)"],
    &["error creating array", "clcreatebuffer (-"],
    &["error invoking kernel", "(-4)"],
    &["error initializing fft: 2"],
    // fork, mmap: "[Errno 12] Cannot allocate memory".
    &["errno 12]", "cannot allocate memory"],
];

/// Classes that mean it by themselves.
const CLASSES: [&str; 3] = ["OutOfMemoryError", "MemoryError", "ResourceExhaustedError"];

/// Whether an error of this class and text says that memory ran out.
pub fn is_out_of_memory(class: &str, message: &str) -> bool {
    let message = message.to_lowercase();
    let says = |phrase: &&str| message.contains(*phrase);
    CLASSES.contains(&class)
        || PHRASES.iter().any(says)
        || COMBINATIONS.iter().any(|together| together.iter().all(says))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_s_way_to_run_out_of_memory_is_recognised() {
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
            ("RuntimeError", "cuFFT error: CUFFT_ALLOC_FAILED"),
            ("CuFFTError", "CUFFT_ALLOC_FAILED"),
            (
                "RuntimeError",
                "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
            ),
            (
                "RuntimeError",
                "CUDA error: resource allocation failed when calling `cusparseCreate(handle)`",
            ),
            ("RuntimeError", "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
            ("RuntimeError", "GET was unable to find an engine to execute this computation"),
            (
                "RuntimeError",
                "NVML_SUCCESS == r INTERNAL ASSERT FAILED at \"../c10/cuda/CUDACachingAllocator.cpp\"\
                 :830, please report a bug to PyTorch.",
            ),
            (
                "RuntimeError",
                "NVML_SUCCESS == DriverAPI::get()->nvmlInit_v2_() INTERNAL ASSERT FAILED at \
                 \"../c10/cuda/CUDACachingAllocator.cpp\":1123, please report a bug to PyTorch.",
            ),
            ("OpenMMException", "Error creating array posq: clCreateBuffer (-61)"),
            ("OpenMMException", "Error creating array posq: clCreateBuffer (-4)"),
            (
                "OpenMMException",
                "Error invoking kernel findBlocksWithInteractions: clEnqueueNDRangeKernel (-4)",
            ),
            ("OpenMMException", "Error creating array force: hipErrorOutOfMemory (2)"),
            ("OpenMMException", "Error initializing FFT: 2"),
            ("RuntimeError", "clEnqueueNDRangeKernel failed: MEM_OBJECT_ALLOCATION_FAILURE"),
            (
                "DistBackendError",
                "NCCL error in: ProcessGroupNCCL.cpp:2251, unhandled cuda error\nLast error:\n\
                 Failed to CUDA malloc 1048576 bytes",
            ),
            (
                "RuntimeError",
                "MPS backend out of memory (MPS allocated: 17.7 GB, max allowed: 18.1 GB)",
            ),
            (
                "RuntimeError",
                "CUDA error: insufficient resources when calling `cusparseCreate(handle)`",
            ),
            ("XlaRuntimeError", "INTERNAL: Failed to allocate 1048576 bytes for new constant"),
            ("RuntimeError", "XPU out of memory. Tried to allocate 2.00 GiB"),
            ("OSError", "[Errno 12] Cannot allocate memory"),
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
            ("OpenMMException", "Error invoking kernel reduceEnergy: clEnqueueNDRangeKernel (-54)"),
            ("OpenMMException", "Error invoking kernel x: clEnqueueNDRangeKernel (-5)"),
            ("OpenMMException", "Error initializing FFT: 5"),
            ("OpenMMException", "Error creating array posq: CUDA_ERROR_LAUNCH_FAILED (719)"),
            ("RuntimeError", "cuFFT error: CUFFT_INTERNAL_ERROR"),
            ("RuntimeError", "cusolver error: CUSOLVER_STATUS_EXECUTION_FAILED, when calling `x`"),
            ("RuntimeError", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
            (
                "RuntimeError",
                "handle_0 INTERNAL ASSERT FAILED at \"../c10/cuda/driver_api.cpp\":15, please report",
            ),
            ("NVMLError_LibraryNotFound", "NVML Shared Library Not Found"),
            (
                "DistBackendError",
                "NCCL error in: x.cpp:1, unhandled system error, remote process exited",
            ),
        ] {
            assert!(!is_out_of_memory(class, message), "{class}: {message}");
        }
    }
}
