//! A scripted `libnvidia-ml.so` for tests on machines without a GPU.
//!
//! It reports what the text file named by `NVML_STUB_WORLD` says (see [`world`]), through the
//! driver's own C interface, so that every program that reads NVML can be tested against it. The
//! types are those of the bindings, and `check_signatures` makes the compiler compare each
//! function with its declaration there.
//!
//! A device handle is a number dressed as a pointer: never followed, only compared.
#![allow(non_snake_case, reason = "the names are NVML's")]
#![allow(clippy::missing_safety_doc, reason = "the safety contract of each function is NVML's")]

mod fault;
pub mod world;

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nvml_wrapper_sys::bindings::*;

use world::{Gpu, Keys, World};

const MIB: u64 = 1 << 20;
const SUCCESS: nvmlReturn_t = nvmlReturn_enum_NVML_SUCCESS;
const INVALID: nvmlReturn_t = nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
const NOT_FOUND: nvmlReturn_t = nvmlReturn_enum_NVML_ERROR_NOT_FOUND;
const NOT_SUPPORTED: nvmlReturn_t = nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED;
/// Handles of instances follow their GPU's, which are this far apart.
const HANDLES_PER_GPU: usize = 0x1000;

/// The process that called init: NVML serves no other one, a forked child included.
static INITIALISED_IN: AtomicU32 = AtomicU32::new(0);

type NvmlResult<T> = Result<T, nvmlReturn_t>;

/// A GPU or one of its MIG instances.
struct StubDevice<'a> {
    index: usize,
    gpu: &'a Gpu,
    instance: Option<&'a Keys>,
}

impl StubDevice<'_> {
    fn keys(&self) -> &Keys {
        self.instance.unwrap_or(&self.gpu.keys)
    }
}

fn handle_of(gpu: usize, instance: Option<usize>) -> nvmlDevice_t {
    let number = (gpu + 1) * HANDLES_PER_GPU + instance.map_or(0, |instance| instance + 1);
    std::ptr::without_provenance_mut(number)
}

fn device_of(world: &World, device: nvmlDevice_t) -> NvmlResult<StubDevice<'_>> {
    let number = device.addr();
    let index = (number / HANDLES_PER_GPU).checked_sub(1).ok_or(INVALID)?;
    let gpu = world.gpus.get(index).ok_or(INVALID)?;
    let instance = match number % HANDLES_PER_GPU {
        0 => None,
        instance => Some(gpu.instances.get(instance - 1).ok_or(INVALID)?),
    };
    Ok(StubDevice { index, gpu, instance })
}

fn status(result: NvmlResult<()>) -> nvmlReturn_t {
    result.err().unwrap_or(SUCCESS)
}

/// Responds to a call about the machine.
fn machine(function: &str, respond: impl FnOnce(&World) -> NvmlResult<()>) -> nvmlReturn_t {
    status(initialised(function).and_then(|world| respond(&world)))
}

/// Responds to a call about a GPU or instance.
fn device(
    function: &str,
    device: nvmlDevice_t,
    respond: impl FnOnce(&World, &StubDevice<'_>) -> NvmlResult<()>,
) -> nvmlReturn_t {
    status(initialised(function).and_then(|world| {
        let stub = device_of(&world, device)?;
        let place = stub.keys().text("uuid").unwrap_or("").to_owned();
        fault::inflict(function, &place, stub.keys())?;
        respond(&world, &stub)
    }))
}

fn initialised(function: &str) -> NvmlResult<Arc<World>> {
    if INITIALISED_IN.load(Ordering::Relaxed) != std::process::id() {
        return Err(nvmlReturn_enum_NVML_ERROR_UNINITIALIZED);
    }
    let world = world::now().ok_or(nvmlReturn_enum_NVML_ERROR_UNKNOWN)?;
    fault::inflict(function, "", &world.keys)?;
    Ok(world)
}

/// Writes a result where the caller wants it.
///
/// # Safety
/// `target` is null, or points to memory of the caller that may be written.
unsafe fn put<T>(target: *mut T, value: T) -> NvmlResult<()> {
    if target.is_null() {
        return Err(INVALID);
    }
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { target.write(value) };
    Ok(())
}

/// Writes a text and the zero after it.
///
/// # Safety
/// `target` is null, or points to `length` bytes of the caller that may be written.
unsafe fn put_text(target: *mut c_char, length: c_uint, text: &[u8]) -> NvmlResult<()> {
    if target.is_null() {
        return Err(INVALID);
    }
    if text.len() >= length as usize {
        return Err(nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
    }
    // SAFETY: the text and its zero fit into the caller's bytes.
    unsafe {
        target.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
        target.add(text.len()).write(0);
    }
    Ok(())
}

/// A text that a caller passes.
///
/// # Safety
/// `text` is null or points to a text that ends with a zero.
unsafe fn taken(text: *const c_char) -> NvmlResult<String> {
    if text.is_null() {
        return Err(INVALID);
    }
    // SAFETY: not null, and the caller vouches for the rest.
    Ok(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

fn required<'a>(keys: &'a Keys, key: &str) -> NvmlResult<&'a str> {
    keys.text(key).ok_or(NOT_SUPPORTED)
}

/// A text with `\xNN` for bytes that a text file can't hold.
fn bytes_of(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        bytes.push(u8::from_str_radix(digits, 16).unwrap_or(b'?'));
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

fn pci_of(bus_id: &str, length: usize) -> nvmlPciInfo_t {
    let hex = |text: &str| c_uint::from_str_radix(text, 16).unwrap_or(0);
    let (domain, rest) = bus_id.split_once(':').unwrap_or(("0", bus_id));
    let (bus, rest) = rest.split_once(':').unwrap_or((rest, "0"));
    let mut info = nvmlPciInfo_t {
        busIdLegacy: [0; 16],
        domain: hex(domain),
        bus: hex(bus),
        device: hex(rest.split('.').next().unwrap_or("0")),
        pciDeviceId: 0,
        pciSubSystemId: 0,
        busId: [0; 32],
    };
    for (target, byte) in info.busId.iter_mut().take(length).zip(bus_id.bytes()) {
        *target = byte as c_char;
    }
    info
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    let Some(world) = world::now() else { return nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED };
    status(fault::inflict("nvmlInit_v2", "", &world.keys).map(|()| {
        INITIALISED_IN.store(std::process::id(), Ordering::Relaxed);
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> nvmlReturn_t {
    // SAFETY: it takes nothing.
    unsafe { nvmlInit_v2() }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    machine("nvmlShutdown", |_| Ok(()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlErrorString(_result: nvmlReturn_t) -> *const c_char {
    c"an error of the scripted driver".as_ptr()
}

/// Exports functions that write one text of the machine.
macro_rules! machine_texts {
    ($($function:ident => $key:literal, $default:literal;)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $function(text: *mut c_char, length: c_uint) -> nvmlReturn_t {
            machine(stringify!($function), |world| {
                let value = world.keys.text($key).unwrap_or($default).as_bytes();
                // SAFETY: NVML's contract: `text` has room for `length` bytes.
                unsafe { put_text(text, length, value) }
            })
        }
    )*};
}

machine_texts! {
    nvmlSystemGetDriverVersion => "driver", "570.00.00";
    nvmlSystemGetNVMLVersion => "nvml", "12.570.00.00";
}

/// Exports functions that write one number of the machine.
macro_rules! machine_numbers {
    ($($function:ident: $type:ty => $number:expr;)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $function(number: *mut $type) -> nvmlReturn_t {
            machine(stringify!($function), |world| {
                let read: fn(&World) -> $type = $number;
                // SAFETY: NVML's contract: `number` may be written.
                unsafe { put(number, read(world)) }
            })
        }
    )*};
}

machine_numbers! {
    nvmlSystemGetCudaDriverVersion: c_int => |world| world.keys.number("cuda", 12080) as c_int;
    nvmlSystemGetCudaDriverVersion_v2: c_int => |world| world.keys.number("cuda", 12080) as c_int;
    nvmlDeviceGetCount_v2: c_uint => |world| {
        world.keys.number("count", world.gpus.len() as u64) as c_uint
    };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    machine("nvmlDeviceGetHandleByIndex_v2", |world| {
        let gpu = world.gpus.get(index as usize).ok_or(INVALID)?;
        let place = gpu.keys.text("uuid").unwrap_or("");
        fault::inflict("nvmlDeviceGetHandleByIndex_v2", place, &gpu.keys)?;
        // SAFETY: NVML's contract: `device` may be written.
        unsafe { put(device, handle_of(index as usize, None)) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUID(
    uuid: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    machine("nvmlDeviceGetHandleByUUID", |world| {
        // SAFETY: NVML's contract: `uuid` is a text that ends with a zero.
        let wanted = unsafe { taken(uuid) }?;
        let is_wanted = |keys: &Keys| keys.text("uuid") == Some(&wanted);
        for (index, gpu) in world.gpus.iter().enumerate() {
            let instance = gpu.instances.iter().position(is_wanted);
            if is_wanted(&gpu.keys) || instance.is_some() {
                fault::inflict("nvmlDeviceGetHandleByUUID", &wanted, &gpu.keys)?;
                // SAFETY: NVML's contract: `device` may be written.
                return unsafe { put(device, handle_of(index, instance)) };
            }
        }
        Err(NOT_FOUND)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(
    bus_id: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    machine("nvmlDeviceGetHandleByPciBusId_v2", |world| {
        // SAFETY: NVML's contract: `bus_id` is a text that ends with a zero.
        let wanted = unsafe { taken(bus_id) }?;
        let index = world.gpus.iter().position(|gpu| gpu.keys.text("bus") == Some(&wanted));
        // SAFETY: NVML's contract: `device` may be written.
        unsafe { put(device, handle_of(index.ok_or(NOT_FOUND)?, None)) }
    })
}

/// Exports functions that write one text of a device.
macro_rules! device_texts {
    ($($function:ident => $key:literal;)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $function(
            handle: nvmlDevice_t,
            text: *mut c_char,
            length: c_uint,
        ) -> nvmlReturn_t {
            device(stringify!($function), handle, |_, stub| {
                let own = stub.keys().text($key);
                let value = own.or(stub.gpu.keys.text($key)).ok_or(NOT_SUPPORTED)?;
                // SAFETY: NVML's contract: `text` has room for `length` bytes.
                unsafe { put_text(text, length, &bytes_of(value)) }
            })
        }
    )*};
}

device_texts! {
    nvmlDeviceGetName => "name";
    nvmlDeviceGetUUID => "uuid";
}

/// Exports functions that write one value of a device.
macro_rules! device_values {
    ($($function:ident: $type:ty => $value:expr;)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $function(
            handle: nvmlDevice_t,
            value: *mut $type,
        ) -> nvmlReturn_t {
            device(stringify!($function), handle, |_, stub| {
                let read: fn(&StubDevice<'_>) -> NvmlResult<$type> = $value;
                // SAFETY: NVML's contract: `value` may be written.
                unsafe { put(value, read(stub)?) }
            })
        }
    )*};
}

device_values! {
    nvmlDeviceGetIndex: c_uint => |stub| Ok(stub.index as c_uint);
    nvmlDeviceGetMinorNumber: c_uint => |stub| Ok(stub.index as c_uint);
    nvmlDeviceGetPciInfo_v3: nvmlPciInfo_t => |stub| Ok(pci_of(required(&stub.gpu.keys, "bus")?, 31));
    nvmlDeviceGetMemoryInfo: nvmlMemory_t => |stub| {
        let (total, reserved, used) = memory(stub)?;
        let (free, used) = (total.saturating_sub(reserved + used), used + reserved);
        Ok(nvmlMemory_t { total, free, used })
    };
    nvmlDeviceGetUtilizationRates: nvmlUtilization_t => |stub| match stub.instance {
        Some(_) => Err(NOT_SUPPORTED),
        None => {
            let gpu = stub.gpu.keys.number("util", 0) as c_uint;
            Ok(nvmlUtilization_t { gpu, memory: 0 })
        }
    };
    nvmlDeviceGetComputeMode: nvmlComputeMode_t => |stub| {
        Ok(stub.gpu.keys.number("computemode", 0) as nvmlComputeMode_t)
    };
    nvmlDeviceGetMaxMigDeviceCount: c_uint => |stub| {
        Ok(stub.gpu.keys.number("migslots", 7) as c_uint)
    };
    nvmlDeviceGetDeviceHandleFromMigDeviceHandle: nvmlDevice_t => |stub| {
        stub.instance.map(|_| handle_of(stub.index, None)).ok_or(INVALID)
    };
    nvmlDeviceIsMigDeviceHandle: c_uint => |stub| Ok(stub.instance.is_some().into());
    nvmlDeviceGetGpuInstanceId: c_uint => |stub| instance_number(stub, "gi");
    nvmlDeviceGetComputeInstanceId: c_uint => |stub| instance_number(stub, "ci");
}

fn instance_number(stub: &StubDevice<'_>, key: &str) -> NvmlResult<c_uint> {
    Ok(stub.instance.ok_or(NOT_SUPPORTED)?.number(key, 0) as c_uint)
}

/// Total, reserved and used bytes.
fn memory(stub: &StubDevice<'_>) -> NvmlResult<(u64, u64, u64)> {
    let keys = stub.keys();
    required(keys, "total")?;
    let bytes = |key| keys.number(key, 0) * MIB;
    Ok((bytes("total"), bytes("reserved"), bytes("used")))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    handle: nvmlDevice_t,
    info: *mut nvmlMemory_v2_t,
) -> nvmlReturn_t {
    device("nvmlDeviceGetMemoryInfo_v2", handle, |_, stub| {
        let (total, reserved, used) = memory(stub)?;
        let free = total.saturating_sub(reserved + used);
        let version = (size_of::<nvmlMemory_v2_t>() | 2 << 24) as c_uint;
        // SAFETY: NVML's contract: `info` may be read and written; `put` refuses null before that.
        unsafe {
            if info.is_null() || (*info).version != version {
                return Err(nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
            }
            put(info, nvmlMemory_v2_t { version, total, reserved, free, used })
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCudaComputeCapability(
    handle: nvmlDevice_t,
    major: *mut c_int,
    minor: *mut c_int,
) -> nvmlReturn_t {
    device("nvmlDeviceGetCudaComputeCapability", handle, |_, stub| {
        let (one, two) =
            stub.gpu.keys.text("cc").unwrap_or("8.0").split_once('.').ok_or(INVALID)?;
        // SAFETY: NVML's contract: both may be written.
        unsafe {
            put(major, one.parse().map_err(|_| INVALID)?)?;
            put(minor, two.parse().map_err(|_| INVALID)?)
        }
    })
}

/// Exports functions that list processes.
macro_rules! process_lists {
    ($($function:ident: $type:ty => $key:literal;)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $function(
            handle: nvmlDevice_t,
            count: *mut c_uint,
            infos: *mut $type,
        ) -> nvmlReturn_t {
            device(stringify!($function), handle, |_, stub| {
                let listed = processes(stub.keys(), $key);
                if count.is_null() {
                    return Err(INVALID);
                }
                // SAFETY: NVML's contract: `count` may be read and written, and says how many
                // processes `infos` has room for.
                unsafe {
                    let room = count.read() as usize;
                    let told = stub.keys().number("proccount", listed.len() as u64);
                    count.write(told as c_uint);
                    if told > room as u64 {
                        return Err(nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
                    }
                    for (place, info) in listed.into_iter().enumerate() {
                        put(infos.add(place), info)?;
                    }
                }
                Ok(())
            })
        }
    )*};
}

process_lists! {
    nvmlDeviceGetComputeRunningProcesses_v3: nvmlProcessInfo_t => "procs";
    nvmlDeviceGetComputeRunningProcesses_v2: nvmlProcessInfo_v2_t => "procs";
    nvmlDeviceGetGraphicsRunningProcesses_v3: nvmlProcessInfo_t => "graphics";
    nvmlDeviceGetGraphicsRunningProcesses_v2: nvmlProcessInfo_v2_t => "graphics";
}

/// Processes are written `PID:MIB`, or `PID` where the driver doesn't know the memory.
fn processes(keys: &Keys, key: &str) -> Vec<nvmlProcessInfo_t> {
    let parse = |text: &str| {
        let (pid, used) = text.split_once(':').unwrap_or((text, ""));
        let used = used.parse::<u64>().map_or(u64::MAX, |used| used * MIB);
        Some(nvmlProcessInfo_t {
            pid: pid.parse().ok()?,
            usedGpuMemory: used,
            gpuInstanceId: c_uint::MAX,
            computeInstanceId: c_uint::MAX,
        })
    };
    keys.list(key).filter_map(parse).collect()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTopologyCommonAncestor(
    one: nvmlDevice_t,
    other: nvmlDevice_t,
    level: *mut nvmlGpuTopologyLevel_t,
) -> nvmlReturn_t {
    device("nvmlDeviceGetTopologyCommonAncestor", one, |world, one| {
        let other = device_of(world, other)?;
        let shared = |key: &str| {
            let (one, other) = (one.gpu.keys.text(key), other.gpu.keys.text(key));
            one.is_some() && one == other
        };
        let found = match () {
            () if one.index == other.index => nvmlGpuLevel_enum_NVML_TOPOLOGY_INTERNAL,
            () if shared("switch") => nvmlGpuLevel_enum_NVML_TOPOLOGY_SINGLE,
            () if shared("bridge") => nvmlGpuLevel_enum_NVML_TOPOLOGY_HOSTBRIDGE,
            () if shared("numa") => nvmlGpuLevel_enum_NVML_TOPOLOGY_NODE,
            () => nvmlGpuLevel_enum_NVML_TOPOLOGY_SYSTEM,
        };
        // SAFETY: NVML's contract: `level` may be written.
        unsafe { put(level, found) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetP2PStatus(
    one: nvmlDevice_t,
    _other: nvmlDevice_t,
    _index: nvmlGpuP2PCapsIndex_t,
    found: *mut nvmlGpuP2PStatus_t,
) -> nvmlReturn_t {
    device("nvmlDeviceGetP2PStatus", one, |_, _| {
        // SAFETY: NVML's contract: `found` may be written.
        unsafe { put(found, nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_OK) }
    })
}

/// The bus id at the other end of an NVLink.
fn link<'a>(stub: &StubDevice<'a>, link: c_uint) -> NvmlResult<&'a str> {
    stub.gpu.keys.list("nvlinks").nth(link as usize).ok_or(INVALID)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkState(
    handle: nvmlDevice_t,
    number: c_uint,
    active: *mut nvmlEnableState_t,
) -> nvmlReturn_t {
    device("nvmlDeviceGetNvLinkState", handle, |_, stub| {
        link(stub, number)?;
        // SAFETY: NVML's contract: `active` may be written.
        unsafe { put(active, nvmlEnableState_enum_NVML_FEATURE_ENABLED) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkRemotePciInfo_v2(
    handle: nvmlDevice_t,
    number: c_uint,
    pci: *mut nvmlPciInfo_t,
) -> nvmlReturn_t {
    device("nvmlDeviceGetNvLinkRemotePciInfo_v2", handle, |_, stub| {
        // SAFETY: NVML's contract: `pci` may be written.
        unsafe { put(pci, pci_of(link(stub, number)?, 31)) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigMode(
    handle: nvmlDevice_t,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> nvmlReturn_t {
    device("nvmlDeviceGetMigMode", handle, |_, stub| {
        let mode = required(&stub.gpu.keys, "mig")?.parse().map_err(|_| INVALID)?;
        // SAFETY: NVML's contract: both may be written.
        unsafe { put(current, mode).and_then(|()| put(pending, mode)) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    handle: nvmlDevice_t,
    slot: c_uint,
    instance: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    device("nvmlDeviceGetMigDeviceHandleByIndex", handle, |_, stub| {
        // An instance stands in the slot it names, or in the order of the file; others are holes.
        let mut instances = stub.gpu.instances.iter().enumerate();
        let found = instances
            .position(|(place, keys)| keys.number("slot", place as u64) == u64::from(slot))
            .ok_or(NOT_FOUND)?;
        // SAFETY: NVML's contract: `instance` may be written.
        unsafe { put(instance, handle_of(stub.index, Some(found))) }
    })
}

/// Never called: it compiles only while every signature is the one that the bindings declare.
#[expect(dead_code, reason = "the compiler's check is the use")]
fn check_signatures(declared: &mut NvmlLib) {
    macro_rules! check {
        ($($function:ident)*) => {$(declared.$function = Ok($function);)*};
    }
    check! {
        nvmlInit_v2 nvmlInitWithFlags nvmlShutdown nvmlErrorString nvmlSystemGetDriverVersion
        nvmlSystemGetNVMLVersion nvmlSystemGetCudaDriverVersion nvmlSystemGetCudaDriverVersion_v2
        nvmlDeviceGetCount_v2 nvmlDeviceGetHandleByIndex_v2 nvmlDeviceGetHandleByUUID
        nvmlDeviceGetHandleByPciBusId_v2 nvmlDeviceGetName nvmlDeviceGetUUID nvmlDeviceGetIndex
        nvmlDeviceGetMinorNumber nvmlDeviceGetPciInfo_v3 nvmlDeviceGetMemoryInfo
        nvmlDeviceGetMemoryInfo_v2 nvmlDeviceGetCudaComputeCapability
        nvmlDeviceGetUtilizationRates nvmlDeviceGetComputeMode
        nvmlDeviceGetComputeRunningProcesses_v3 nvmlDeviceGetComputeRunningProcesses_v2
        nvmlDeviceGetGraphicsRunningProcesses_v3 nvmlDeviceGetGraphicsRunningProcesses_v2
        nvmlDeviceGetTopologyCommonAncestor nvmlDeviceGetP2PStatus nvmlDeviceGetNvLinkState
        nvmlDeviceGetNvLinkRemotePciInfo_v2 nvmlDeviceGetMigMode nvmlDeviceGetMaxMigDeviceCount
        nvmlDeviceGetMigDeviceHandleByIndex nvmlDeviceGetDeviceHandleFromMigDeviceHandle
        nvmlDeviceIsMigDeviceHandle nvmlDeviceGetGpuInstanceId nvmlDeviceGetComputeInstanceId
    }
}
