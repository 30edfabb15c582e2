//! From a device's name to a burn device; the one place that knows which backends are compiled in.
//!
//! | name | computes on | cargo feature |
//! |---|---|---|
//! | `cpu` | the processor, with kernels of ours | - |
//! | `wgpu:N` | adapter N of the graphics driver: Vulkan, Metal, DirectX 12 or OpenGL | `wgpu` |
//! | `cuda:N` | NVIDIA card N | `cuda` |
//!
//! Adapters are counted from 0: discrete cards first, then integrated and virtual ones, and software
//! renderers last. After the place may stand the format of weights and activations, `:f16` or `:bf16`.

use std::fmt;

use burn::tensor::DType;

use crate::Error;

/// Where a model computes, and in which format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    burn: burn::tensor::Device,
    name: String,
    format: DType,
}

/// How numbers are rounded where most of them meet: the factors of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 23 bits of fraction.
    Single,
    /// 10 bits, in products alone.
    Tf32,
    /// 10 bits.
    F16,
    /// 7 bits.
    Bf16,
}

impl Device {
    /// The device called `name`: `cpu`, or `wgpu:N` and `cuda:N` where the cargo features of that
    /// name are compiled in, each alone (single precision) or with `:f16` or `:bf16`. A graphics
    /// adapter is opened.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] for other names, for backends that are not compiled in, and for devices that
    /// are not there, can't be opened or lack the format.
    ///
    /// ```
    /// use preceptor_models::Device;
    /// assert_eq!(Device::parse("cpu").expect("always there").to_string(), "cpu");
    /// assert!(Device::parse("tpu").is_err());
    /// ```
    pub fn parse(name: &str) -> Result<Self, Error> {
        let (place, format) = match name.rsplit_once(':') {
            Some((place, "f16")) => (place, DType::F16),
            Some((place, "bf16")) => (place, DType::BF16),
            _ => (name, DType::F32),
        };
        let found = Self { name: name.to_owned(), format, ..Self::at(name, place)? };
        if found.burn.supports_dtype(format) {
            return Ok(found);
        }
        Err(Error::Device {
            name: name.to_owned(),
            expected: format!("`{place}` or another format: it does not compute in this one"),
            hint: "cards compute in `f16` through Vulkan and in both through CUDA".to_owned(),
        })
    }

    /// Devices that share the work of a model: one or more names with commas between them, of one kind
    /// and one format, so that it does not matter which one does what. The same one may be named twice.
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

    /// The place of a device called `name`.
    fn at(name: &str, place: &str) -> Result<Self, Error> {
        if place == "cpu" {
            return Ok(Self::cpu());
        }
        let refuse = |expected: String, hint: String| Error::Device {
            name: name.to_owned(),
            expected,
            hint,
        };
        let parsed = place
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
            Err(Absent::Feature(feature)) => Err(refuse(
                compiled_in(),
                format!(
                    "this build was made without the cargo feature `{feature}`; build with `--features {feature}`"
                ),
            )),
            Err(Absent::Number { kind, count: 0, look }) => {
                Err(refuse(compiled_in(), format!("no {kind} device was found; {look}")))
            }
            Err(Absent::Number { kind, count, look }) => {
                let last = match count {
                    1 => String::new(),
                    _ => format!(" to `{kind}:{}`", count - 1),
                };
                Err(refuse(format!("`{kind}:0`{last}"), look.to_owned()))
            }
            Err(Absent::Refused(cause)) => {
                Err(refuse("a device that its driver can open".to_owned(), cause))
            }
        }
    }

    /// The processor.
    pub fn cpu() -> Self {
        let burn = burn::tensor::Device::flex();
        Self { burn, name: "cpu".to_owned(), format: DType::F32 }
    }

    /// The burn device.
    pub fn burn(&self) -> &burn::tensor::Device {
        &self.burn
    }

    /// The format of weights and activations. Norms, softmax, log-probabilities and what an optimiser
    /// holds are in single precision in any case.
    pub fn format(&self) -> DType {
        self.format
    }

    /// How products are rounded.
    pub fn precision(&self) -> Precision {
        match self.format {
            DType::BF16 => Precision::Bf16,
            DType::F16 => Precision::F16,
            _ if self.name.starts_with("cuda") => Precision::Tf32,
            _ => Precision::Single,
        }
    }

    /// Whether our own CPU kernels run there.
    pub fn has_kernels(&self) -> bool {
        self.name == "cpu"
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Why there is no such device.
#[cfg_attr(
    not(all(feature = "wgpu", not(feature = "cuda"))),
    expect(dead_code, reason = "which ones can happen depends on the features")
)]
enum Absent {
    /// The backend is not compiled in.
    Feature(&'static str),
    /// There are not so many.
    Number { kind: &'static str, count: usize, look: &'static str },
    /// The driver gave it up, for this cause.
    Refused(String),
}

/// The names that this build understands.
fn compiled_in() -> String {
    let names = [("wgpu", cfg!(feature = "wgpu")), ("cuda", cfg!(feature = "cuda"))];
    let names = names.iter().filter(|(_, there)| *there).map(|(name, _)| format!(" or `{name}:N`"));
    format!("`cpu`{}", names.collect::<String>())
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(_: usize) -> Result<burn::tensor::Device, Absent> {
    Err(Absent::Feature("wgpu"))
}

#[cfg(feature = "wgpu")]
fn wgpu(number: usize) -> Result<burn::tensor::Device, Absent> {
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
        return Err(Absent::Number { kind: "wgpu", count: kinds.len(), look });
    };
    match Device::wgpu_options().device_kind(kind.clone()).init() {
        Ok(device) => Ok(device),
        // It was opened before.
        Err(WgpuInitError::Registration { .. }) => Ok(Device::wgpu(kind)),
        Err(error) => Err(Absent::Refused(error.to_string())),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<burn::tensor::Device, Absent> {
    Err(Absent::Feature("cuda"))
}

#[cfg(feature = "cuda")]
fn cuda(number: usize) -> Result<burn::tensor::Device, Absent> {
    use burn::tensor::{Device, DeviceType};

    let count = Device::enumerate(DeviceType::Cuda).len();
    if number < count {
        Ok(Device::cuda(number))
    } else {
        let look = "`nvidia-smi` lists the cards of NVIDIA's driver";
        Err(Absent::Number { kind: "cuda", count, look })
    }
}
