//! From a device's name to a burn device; the one place that knows which backends are compiled in.

use std::fmt;

use crate::Error;

/// Where a model computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    burn: burn::tensor::Device,
    name: String,
}

impl Device {
    /// The device called `name`: `cpu`, or `wgpu:N` and `cuda:N` where the cargo features of that
    /// name are compiled in.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] for other names and for backends that are not compiled in.
    ///
    /// ```
    /// use preceptor_models::Device;
    /// assert_eq!(Device::parse("cpu").expect("always there").to_string(), "cpu");
    /// assert!(Device::parse("tpu").is_err());
    /// ```
    pub fn parse(name: &str) -> Result<Self, Error> {
        let (kind, number) = match name.split_once(':') {
            Some((kind, number)) => (kind, Some(number)),
            None => (name, None),
        };
        let number_is_fine = number.is_none_or(|n| n.parse::<usize>().is_ok());
        match kind {
            "cpu" if number.is_none() => Ok(Self::cpu()),
            "wgpu" | "cuda" if number_is_fine => Err(Error::Device {
                name: name.to_owned(),
                expected: "`cpu`",
                hint: format!("this build was made without the cargo feature `{kind}`"),
            }),
            _ => Err(Error::Device {
                name: name.to_owned(),
                expected: "`cpu`, `wgpu:N` or `cuda:N`",
                hint: "N is the number of the device, from 0".to_owned(),
            }),
        }
    }

    /// The processor.
    pub fn cpu() -> Self {
        Self { burn: burn::tensor::Device::flex(), name: "cpu".to_owned() }
    }

    /// The burn device.
    pub fn burn(&self) -> &burn::tensor::Device {
        &self.burn
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
