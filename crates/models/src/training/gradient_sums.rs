//! Sums of the gradients of an update's passes.
//!
//! On the CPU they are on the host at once, and passes are added in their order, whoever computed them.
//! A device with memory of its own keeps the sum of its passes and gives it away once an update.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use crate::Device;
use crate::ops::{add_gradient, to_vec, widened};

/// The parameters that a tensor holds, one after the other, and their lengths.
pub(crate) type Held = Vec<(usize, usize)>;

/// Sums of gradients by parameter.
#[derive(Debug)]
pub struct GradientSums {
    /// One entry a parameter; an empty one stands for zeros.
    host: Vec<Vec<f32>>,
    /// By the first parameter they hold, in single precision; none where sums are on the host.
    device: Option<BTreeMap<usize, (Held, Tensor<1>)>>,
}

impl GradientSums {
    /// Zeros for this many parameters, of passes on `device`.
    pub fn new(num_parameters: usize, device: &Device) -> Self {
        let device = (!device.has_kernels()).then(BTreeMap::new);
        Self { host: vec![Vec::new(); num_parameters], device }
    }

    /// Adds the gradient of a tensor.
    pub(crate) fn add<const D: usize>(&mut self, held: &Held, gradient: Tensor<D>) {
        let Some(device) = &mut self.device else { return self.add_on_host(held, gradient) };
        let len: usize = held.iter().map(|(_, len)| len).sum();
        let gradient = widened(gradient).reshape([len]);
        let Some((first, _)) = held.first() else { return };
        let sum = match device.remove(first) {
            Some((_, sum)) => sum + gradient,
            None => gradient,
        };
        device.insert(*first, (held.clone(), sum));
    }

    fn add_on_host<const D: usize>(&mut self, held: &Held, gradient: Tensor<D>) {
        let mut gradient = to_vec(gradient);
        for (parameter, len) in held {
            let rest = gradient.split_off(*len);
            add_gradient(&mut self.host[*parameter], gradient);
            gradient = rest;
        }
    }

    /// Adds the sums of other passes on the same device.
    pub(crate) fn merge(&mut self, mut other: Self) {
        for (held, sum) in other.device.take().into_iter().flat_map(BTreeMap::into_values) {
            self.add(&held, sum);
        }
        self.add_host_of(&mut other);
    }

    /// Brings what the device holds to the host.
    pub fn bring_to_host(&mut self) {
        for (held, sum) in self.device.take().into_iter().flat_map(BTreeMap::into_values) {
            self.add_on_host(&held, sum);
        }
    }

    /// Adds what the others have on the host to the first one, in their order.
    pub fn gather(sums: &mut [Self]) {
        if let Some((first, others)) = sums.split_first_mut() {
            others.iter_mut().for_each(|other| first.add_host_of(other));
        }
    }

    fn add_host_of(&mut self, other: &mut Self) {
        for (sum, gradient) in self.host.iter_mut().zip(&mut other.host) {
            add_gradient(sum, std::mem::take(gradient));
        }
    }

    /// The sums, one entry a parameter; an empty one stands for zeros.
    pub fn into_values(mut self) -> Vec<Vec<f32>> {
        self.bring_to_host();
        self.host
    }
}
