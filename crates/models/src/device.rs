//! Devices: parses a device's name and opens the burn device.
//!
//! | name | computes on | cargo feature |
//! |---|---|---|
//! | `cpu` | the CPU, with our own kernels | - |
//! | `wgpu:N` | adapter N of the graphics driver: Vulkan, Metal, DirectX 12 or OpenGL | `wgpu` |
//! | `cuda:N` | NVIDIA GPU N | `cuda` |
//!
//! Adapters are counted from 0: discrete GPUs first, then integrated and virtual ones, and software
//! renderers last. `:f16` or `:bf16` may follow, the format of weights and activations.

use std::fmt;

use burn::tensor::DType;

use crate::Error;

/// A device that computes a model, and the format of its weights and activations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    burn: burn::tensor::Device,
    name: String,
    format: DType,
}

/// The precision of the factors of matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 23 bits of fraction.
    Single,
    /// 10 bits, in products only.
    Tf32,
    /// 10 bits.
    F16,
    /// 7 bits.
    Bf16,
}

impl Device {
    /// Opens the device called `name`: `cpu`, or `wgpu:N` and `cuda:N` where the cargo feature of that
    /// name is compiled in, each in single precision or with `:f16` or `:bf16`.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] for other names, for backends that are not compiled in, and for devices that
    /// are missing, can't be opened or lack the format.
    ///
    /// ```
    /// use preceptor_models::Device;
    /// assert_eq!(Device::parse("cpu").expect("always there").to_string(), "cpu");
    /// assert!(Device::parse("tpu").is_err());
    /// ```
    pub fn parse(name: &str) -> Result<Self, Error> {
        let (address, format) = match name.rsplit_once(':') {
            Some((address, "f16")) => (address, DType::F16),
            Some((address, "bf16")) => (address, DType::BF16),
            _ => (name, DType::F32),
        };
        let found = Self { name: name.to_owned(), format, ..Self::open(name, address)? };
        if found.burn.supports_dtype(format) {
            return Ok(found);
        }
        Err(Error::Device {
            name: name.to_owned(),
            expected: format!("`{address}` or another format: it does not compute in this one"),
            hint: "GPUs compute in `f16` through Vulkan and in both through CUDA".to_owned(),
        })
    }

    /// Opens the devices that share the work of a model: one or more names separated by commas, all of one
    /// kind and one format, so that each can do any part. A device may be named twice.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] as for [`Self::parse`], and for devices of several kinds.
    ///
    /// ```
    /// use preceptor_models::Device;
    /// assert_eq!(Device::parse_all("cpu,cpu").expect("always there").len(), 2);
    /// assert!(Device::parse_all("cpu,cpu:bf16").is_err());
    /// ```
    pub fn parse_all(names: &str) -> Result<Vec<Self>, Error> {
        let devices: Vec<Self> = names.split(',').map(Self::parse).collect::<Result<_, _>>()?;
        let kind = |device: &Self| {
            let kind = device.name.split(':').next().unwrap_or_default();
            (kind.to_owned(), device.format)
        };
        match devices.iter().find(|device| kind(device) != kind(&devices[0])) {
            None => Ok(devices),
            Some(other) => Err(Error::Device {
                name: other.name.clone(),
                expected: format!("one of the kind and format of `{}`", devices[0].name),
                hint: "devices that share a model's work must compute alike".to_owned(),
            }),
        }
    }

    /// Opens the device at `address`, which is `name` without its format.
    fn open(name: &str, address: &str) -> Result<Self, Error> {
        if address == "cpu" {
            return Ok(Self::cpu());
        }
        let refuse = |expected: String, hint: String| Error::Device {
            name: name.to_owned(),
            expected,
            hint,
        };
        let parsed = address
            .split_once(':')
            .and_then(|(kind, number)| Some((kind, number.parse::<usize>().ok()?)));
        let opened = match parsed {
            Some(("wgpu", number)) => wgpu(number),
            Some(("cuda", number)) => cuda(number),
            _ => {
                return Err(refuse(
                    "`cpu`, `wgpu:N` or `cuda:N`".to_owned(),
                    "N is the number of the device, from 0; `:f16` or `:bf16` may follow"
                        .to_owned(),
                ));
            }
        };
        match opened {
            Ok(burn) => Ok(Self { burn, ..Self::cpu() }),
            Err(OpenError::Feature(feature)) => Err(refuse(
                compiled_in(),
                format!(
                    "this build was made without the cargo feature `{feature}`; build with `--features {feature}`"
                ),
            )),
            Err(OpenError::Number { kind, count: 0, look }) => {
                Err(refuse(compiled_in(), format!("no {kind} device was found; {look}")))
            }
            Err(OpenError::Number { kind, count, look }) => {
                let last = match count {
                    1 => String::new(),
                    _ => format!(" to `{kind}:{}`", count - 1),
                };
                Err(refuse(format!("`{kind}:0`{last}"), look.to_owned()))
            }
            Err(OpenError::Refused(cause)) => {
                Err(refuse("a device that its driver can open".to_owned(), cause))
            }
        }
    }

    /// Returns the CPU in single precision.
    pub fn cpu() -> Self {
        let burn = burn::tensor::Device::flex();
        Self { burn, name: "cpu".to_owned(), format: DType::F32 }
    }

    /// Returns the burn device.
    pub fn burn(&self) -> &burn::tensor::Device {
        &self.burn
    }

    /// Returns the format of weights and activations. Norms, softmax, log-probabilities and the state of an
    /// optimiser are always in single precision.
    pub fn format(&self) -> DType {
        self.format
    }

    /// Returns the precision of matrix products.
    pub fn precision(&self) -> Precision {
        match self.format {
            DType::BF16 => Precision::Bf16,
            DType::F16 => Precision::F16,
            _ if self.name.starts_with("cuda") => Precision::Tf32,
            _ => Precision::Single,
        }
    }

    /// Returns true if our own CPU kernels run on it.
    pub fn has_kernels(&self) -> bool {
        self.name == "cpu"
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The reason why a device can't be opened.
#[cfg_attr(
    not(all(feature = "wgpu", not(feature = "cuda"))),
    expect(dead_code, reason = "which ones can happen depends on the features")
)]
enum OpenError {
    /// The backend is not compiled in.
    Feature(&'static str),
    /// Its number is too large.
    Number { kind: &'static str, count: usize, look: &'static str },
    /// The driver failed, for this cause.
    Refused(String),
}

/// Lists the names that this build supports.
fn compiled_in() -> String {
    let names = [("wgpu", cfg!(feature = "wgpu")), ("cuda", cfg!(feature = "cuda"))];
    let names = names.iter().filter(|(_, there)| *there).map(|(name, _)| format!(" or `{name}:N`"));
    format!("`cpu`{}", names.collect::<String>())
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(_: usize) -> Result<burn::tensor::Device, OpenError> {
    Err(OpenError::Feature("wgpu"))
}

#[cfg(feature = "wgpu")]
fn wgpu(number: usize) -> Result<burn::tensor::Device, OpenError> {
    use burn::backend::{CubeDevice, DispatchDevice, WgpuDeviceKind};
    use burn::tensor::wgpu::WgpuInitError;
    use burn::tensor::{Device, DeviceKind, DeviceType};

    let kind = |device: &Device| match device.as_dispatch() {
        DispatchDevice::Cube(CubeDevice::Wgpu(wgpu)) => match wgpu.kind {
            WgpuDeviceKind::DiscreteGpu(number) => Some((0, DeviceKind::DiscreteGpu(number))),
            WgpuDeviceKind::IntegratedGpu(number) => Some((1, DeviceKind::IntegratedGpu(number))),
            WgpuDeviceKind::VirtualGpu(number) => Some((2, DeviceKind::VirtualGpu(number))),
            WgpuDeviceKind::Cpu => Some((3, DeviceKind::Cpu)),
            _ => None,
        },
        _ => None,
    };
    let mut kinds: Vec<_> = Device::enumerate(DeviceType::Wgpu).iter().filter_map(kind).collect();
    kinds.sort_by_key(|(rank, _)| *rank);
    let Some((_, kind)) = kinds.get(number).cloned() else {
        let look = "`vulkaninfo --summary` lists the adapters of Vulkan's drivers";
        return Err(OpenError::Number { kind: "wgpu", count: kinds.len(), look });
    };
    match Device::wgpu_options().device_kind(kind.clone()).init() {
        Ok(device) => Ok(device),
        // It is already open.
        Err(WgpuInitError::Registration { .. }) => Ok(Device::wgpu(kind)),
        Err(error) => Err(OpenError::Refused(error.to_string())),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<burn::tensor::Device, OpenError> {
    Err(OpenError::Feature("cuda"))
}

#[cfg(feature = "cuda")]
fn cuda(number: usize) -> Result<burn::tensor::Device, OpenError> {
    use burn::tensor::{Device, DeviceType};

    let count = Device::enumerate(DeviceType::Cuda).len();
    if number < count {
        Ok(Device::cuda(number))
    } else {
        let look = "`nvidia-smi` lists the cards of NVIDIA's driver";
        Err(OpenError::Number { kind: "cuda", count, look })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_the_address() {
        for (name, format, precision) in [
            ("cpu", DType::F32, Precision::Single),
            ("cpu:f16", DType::F16, Precision::F16),
            ("cpu:bf16", DType::BF16, Precision::Bf16),
        ] {
            let device = Device::parse(name).expect("the CPU has every format");
            assert_eq!((device.format(), device.precision()), (format, precision), "{name}");
            assert_eq!(device.has_kernels(), name == "cpu");
            assert_eq!(device.to_string(), name);
        }
    }

    #[test]
    fn unknown_names_are_rejected() {
        for name in ["", "cpu:0", "cpu:f32", "gpu:0", "cuda", "cuda:x", "cuda:-1", "wgpu:0:f16:f16"]
        {
            assert!(Device::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn shared_work_needs_devices_of_one_kind_and_format() {
        assert_eq!(Device::parse_all("cpu:f16,cpu:f16").expect("equal").len(), 2);
        assert!(Device::parse_all("cpu,cpu:f16").is_err());
        assert!(Device::parse_all("cpu,").is_err());
    }
}
