//! Sums of the gradients of an update's passes.
//!
//! On the CPU, passes are added in their order, whichever device computed them. A device with its own
//! memory adds up its passes, and the sum is copied to the host once per update.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use crate::Device;
use crate::ops::{add_gradient, to_vec, widen};

/// The indices of the parameters in a tensor, in order, with their lengths.
pub(crate) type ParameterSpans = Vec<(usize, usize)>;

/// Sums of gradients by parameter.
#[derive(Debug)]
pub struct GradientSums {
    /// An entry per parameter; an empty one stands for zeros.
    host: Vec<Vec<f32>>,
    /// Sums in single precision by their first parameter; none if the sums are on the host.
    device: Option<BTreeMap<usize, (ParameterSpans, Tensor<1>)>>,
}

impl GradientSums {
    /// Creates zeros for this many parameters, of passes on `device`.
    pub fn new(num_parameters: usize, device: &Device) -> Self {
        let device = (!device.has_kernels()).then(BTreeMap::new);
        Self { host: vec![Vec::new(); num_parameters], device }
    }

    /// Adds the gradient of a tensor.
    pub(crate) fn add<const D: usize>(&mut self, spans: &ParameterSpans, gradient: Tensor<D>) {
        let Some(device) = &mut self.device else { return self.add_on_host(spans, gradient) };
        let len: usize = spans.iter().map(|(_, len)| len).sum();
        let gradient = widen(gradient).reshape([len]);
        let Some((first, _)) = spans.first() else { return };
        let sum = match device.remove(first) {
            Some((_, sum)) => sum + gradient,
            None => gradient,
        };
        device.insert(*first, (spans.clone(), sum));
    }

    fn add_on_host<const D: usize>(&mut self, spans: &ParameterSpans, gradient: Tensor<D>) {
        let mut gradient = to_vec(gradient);
        for (parameter, len) in spans {
            let rest = gradient.split_off(*len);
            add_gradient(&mut self.host[*parameter], gradient);
            gradient = rest;
        }
    }

    /// Adds the sums of other passes on the same device.
    pub(crate) fn merge(&mut self, mut other: Self) {
        for (spans, sum) in other.device.take().into_iter().flat_map(BTreeMap::into_values) {
            self.add(&spans, sum);
        }
        self.add_host_of(&mut other);
    }

    /// Adds the sums on the device to those on the host.
    pub fn bring_to_host(&mut self) {
        for (spans, sum) in self.device.take().into_iter().flat_map(BTreeMap::into_values) {
            self.add_on_host(&spans, sum);
        }
    }

    /// Adds the host sums of the others to the first one, in their order.
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

    /// Returns the sums, an entry per parameter; an empty one stands for zeros.
    pub fn into_values(mut self) -> Vec<Vec<f32>> {
        self.bring_to_host();
        self.host
    }
}
