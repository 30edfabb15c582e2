//! The trained weights of a model: values on the host, from which every pass builds a decoder under
//! autodiff, and gradients by parameter. A device with its own memory keeps a copy until they change.

use std::sync::OnceLock;

use burn::tensor::{DType, Gradients, Tensor, TensorData};
use half::{bf16, f16};
use preceptor_core::Seed;
use rand_chacha::rand_core::Rng;
use rayon::prelude::*;

use super::gradient_sums::{GradientSums, ParameterSpans};
use crate::decoder::{Decoder, LoraConfig, WeightMut};
use crate::format::NamedTensors;
use crate::ops::{Adapter, Linear};
use crate::{Device, Error, Model, Replica, ops};

/// A weight that is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The name of a weight in checkpoints, or of an adapter's matrix in peft files.
    pub name: String,
    /// A length, or rows and columns; values are in row-major order.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Vec<f32>,
}

/// The parameters of a weight of the decoder.
#[derive(Clone, Debug)]
enum WeightParameters {
    /// The whole weight is trained, part by part: indices of parameters.
    Whole {
        parameters: Vec<usize>,
    },
    /// Adapters of some parts are trained.
    Adapted {
        adapters: Vec<AdapterParameters>,
    },
    Frozen,
}

#[derive(Clone, Debug)]
struct AdapterParameters {
    first_row: usize,
    a: usize,
    b: usize,
}

/// The parameters of a weight as tensors on a device.
#[derive(Clone, Debug)]
enum WeightTensors {
    Matrix(Tensor<2>),
    Vector(Tensor<1>),
    /// `A` and `B` of each.
    Adapters(Vec<[Tensor<2>; 2]>),
    Nothing,
}

/// The trained weights of a model.
pub struct Trainable {
    /// The frozen weights on each device; at least one.
    replicas: Vec<Replica>,
    lora: Option<LoraConfig>,
    parameters: Vec<Parameter>,
    /// An entry for each of the decoder's weights.
    weights: Vec<WeightParameters>,
    /// The current values on each device with its own memory, uploaded at their first use.
    uploaded: Vec<OnceLock<Vec<WeightTensors>>>,
}

impl std::fmt::Debug for Trainable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lora, parameters, .. } = self;
        f.debug_struct("Trainable")
            .field("lora", lora)
            .field("parameters", &parameters.len())
            .finish_non_exhaustive()
    }
}

impl Trainable {
    /// Trains all weights of a model.
    pub fn full(model: &Model) -> Self {
        let mut decoder = model.decoder().clone_box();
        let (mut parameters, mut weights) = (Vec::new(), Vec::new());
        for weight in decoder.weights_mut() {
            let first = parameters.len();
            match weight {
                WeightMut::Matrix { parts, linear } => {
                    let [_, inner] = linear.shape();
                    let mut values = ops::to_vec(linear.to_tensor());
                    for (name, rows) in parts {
                        let rest = values.split_off(rows * inner);
                        let shape = vec![rows, inner];
                        parameters.push(Parameter { name, shape, values });
                        values = rest;
                    }
                }
                WeightMut::Vector { name, tensor } => {
                    let values = ops::to_vec(tensor.clone());
                    parameters.push(Parameter { name, shape: vec![values.len()], values });
                }
            }
            weights
                .push(WeightParameters::Whole { parameters: (first..parameters.len()).collect() });
        }
        Self::new(model, None, parameters, weights)
    }

    fn new(
        model: &Model,
        lora: Option<LoraConfig>,
        parameters: Vec<Parameter>,
        weights: Vec<WeightParameters>,
    ) -> Self {
        let replicas = model.replicas().to_vec();
        let uploaded = vec![OnceLock::new(); replicas.len()];
        Self { replicas, lora, parameters, weights, uploaded }
    }

    /// Trains adapters of a model. Initially `A` is uniform as in peft and `B` is zero, so that the output
    /// does not change.
    ///
    /// # Errors
    ///
    /// [`Error::Lora`] for settings that don't fit the model.
    pub fn lora(model: &Model, config: &LoraConfig, seed: Seed) -> Result<Self, Error> {
        let mut decoder = model.decoder().clone_box();
        let (mut parameters, mut weights, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for weight in decoder.weights_mut() {
            let WeightMut::Matrix { parts, linear } = weight else {
                weights.push(WeightParameters::Frozen);
                continue;
            };
            let [_, inner] = linear.shape();
            let (mut adapters, mut first_row) = (Vec::new(), 0);
            for (name, rows) in parts {
                if config.adapts(&name) {
                    let module = name.strip_suffix(".weight").unwrap_or(&name);
                    let matrix = |side: &str, shape: [usize; 2], values| Parameter {
                        name: format!("base_model.model.{module}.lora_{side}.weight"),
                        shape: shape.to_vec(),
                        values,
                    };
                    let mut stream = seed.derive(&name).rng();
                    let bound = 1.0 / (inner as f32).sqrt();
                    let uniform = |_| {
                        let unit = (stream.next_u32() >> 8) as f32 / (1 << 24) as f32;
                        bound * (2.0 * unit - 1.0)
                    };
                    let a = (0..config.rank * inner).map(uniform).collect();
                    adapters.push(AdapterParameters {
                        first_row,
                        a: parameters.len(),
                        b: parameters.len() + 1,
                    });
                    parameters.push(matrix("A", [config.rank, inner], a));
                    parameters.push(matrix(
                        "B",
                        [rows, config.rank],
                        vec![0.0; rows * config.rank],
                    ));
                }
                first_row += rows;
                names.push(name);
            }
            weights.push(if adapters.is_empty() {
                WeightParameters::Frozen
            } else {
                WeightParameters::Adapted { adapters }
            });
        }
        config.check_targets(&names)?;
        Ok(Self::new(model, Some(config.clone()), parameters, weights))
    }

    /// Returns the settings of the adapters; none if all weights are trained.
    pub fn lora_config(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    /// Returns the device of its passes, the first of several.
    pub fn device(&self) -> &Device {
        self.replicas[0].device()
    }

    /// Returns the number of its devices.
    pub fn num_replicas(&self) -> usize {
        self.replicas.len()
    }

    /// Returns the parameters, always in the same order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Returns the parameters, to change their values. Shapes must not change.
    pub fn parameters_mut(&mut self) -> &mut [Parameter] {
        self.uploaded.fill(OnceLock::new());
        &mut self.parameters
    }

    /// Sets the values of parameters by name.
    ///
    /// # Errors
    ///
    /// [`Error::Parameters`] if a parameter is missing, unknown or of another shape. No value is changed
    /// then.
    pub fn set_values(&mut self, mut values: NamedTensors) -> Result<(), Error> {
        let mut found = Vec::with_capacity(self.parameters.len());
        for parameter in &self.parameters {
            let error = |detail: String| Error::Parameters { name: parameter.name.clone(), detail };
            match values.remove(&parameter.name) {
                Some((shape, values)) if shape == parameter.shape => found.push(values),
                Some((shape, _)) => {
                    let detail = format!("found shape {shape:?}, expected {:?}", parameter.shape);
                    return Err(error(detail));
                }
                None => return Err(error("it is missing".to_owned())),
            }
        }
        if let Some(name) = values.into_keys().next() {
            return Err(Error::Parameters {
                name,
                detail: "the model has no parameter of that name".to_owned(),
            });
        }
        for (parameter, values) in self.parameters_mut().iter_mut().zip(found) {
            parameter.values = values;
        }
        Ok(())
    }

    /// Returns a parameter as a vector on a device.
    fn vector(&self, device: &Device, parameter: usize) -> Tensor<1> {
        let values = self.parameters[parameter].values.clone();
        let len = values.len();
        Tensor::from_data(TensorData::new(values, [len]), device.burn())
    }

    /// Creates sums of gradients, all zero, of passes on the device with this index.
    pub fn gradient_sums(&self, replica: usize) -> GradientSums {
        GradientSums::new(self.parameters.len(), self.replicas[replica].device())
    }

    /// Builds a decoder whose trained weights are leaves of a new autodiff graph, on the device with this
    /// index.
    pub fn graph(&self, replica: usize) -> Graph {
        self.part(replica, |_| true, true)
    }

    /// Builds a decoder in which only the weights of a layer, or those before and after the layers, have
    /// their current values. Without `tracked` no gradients are recorded.
    pub(crate) fn section(&self, replica: usize, layer: Option<usize>, tracked: bool) -> Graph {
        self.part(replica, |weight| weight.layer() == layer, tracked)
    }

    /// Copies the parameters of a weight to the device.
    fn upload(&self, device: &Device, weight: &WeightParameters) -> WeightTensors {
        let matrix = |parameters: &[usize]| self.stacked(device, device.format(), parameters);
        match weight {
            WeightParameters::Whole { parameters } => {
                match self.parameters[parameters[0]].shape.len() {
                    1 => WeightTensors::Vector(self.vector(device, parameters[0])),
                    _ => WeightTensors::Matrix(matrix(parameters)),
                }
            }
            WeightParameters::Adapted { adapters } => {
                let pair =
                    |adapter: &AdapterParameters| [matrix(&[adapter.a]), matrix(&[adapter.b])];
                WeightTensors::Adapters(adapters.iter().map(pair).collect())
            }
            WeightParameters::Frozen => WeightTensors::Nothing,
        }
    }

    /// Returns the parameters of weight `index` on a device, from its copy if it has its own memory.
    fn uploaded(&self, replica: usize, index: usize) -> WeightTensors {
        let device = self.replicas[replica].device();
        if device.has_kernels() {
            return self.upload(device, &self.weights[index]);
        }
        let all = || self.weights.iter().map(|weight| self.upload(device, weight)).collect();
        self.uploaded[replica].get_or_init(all)[index].clone()
    }

    fn part(
        &self,
        replica: usize,
        is_wanted: impl Fn(&WeightMut<'_>) -> bool,
        tracked: bool,
    ) -> Graph {
        let matrix = |matrix: Tensor<2>| {
            if tracked { matrix.autodiff().require_grad() } else { matrix }
        };
        let mut decoder = self.replicas[replica].decoder().clone_box();
        let mut leaves = Vec::new();
        let weights = decoder.weights_mut().into_iter().zip(&self.weights).enumerate();
        for (index, (weight, parameters)) in weights.filter(|(_, (weight, _))| is_wanted(weight)) {
            match (weight, parameters, self.uploaded(replica, index)) {
                (
                    WeightMut::Matrix { linear, .. },
                    WeightParameters::Whole { parameters },
                    WeightTensors::Matrix(uploaded),
                ) => {
                    let leaf = matrix(uploaded);
                    *linear = Linear::from_tensor(leaf.clone());
                    leaves.push((self.lengths(parameters), Leaf::Matrix(leaf)));
                }
                (
                    WeightMut::Vector { tensor, .. },
                    WeightParameters::Whole { parameters },
                    WeightTensors::Vector(uploaded),
                ) => {
                    let leaf = if tracked { uploaded.autodiff().require_grad() } else { uploaded };
                    *tensor = leaf.clone();
                    leaves.push((self.lengths(parameters), Leaf::Vector(leaf)));
                }
                (
                    WeightMut::Matrix { linear, .. },
                    WeightParameters::Adapted { adapters },
                    WeightTensors::Adapters(uploaded),
                ) => {
                    let scale = self.lora.as_ref().map_or(1.0, LoraConfig::scale);
                    for (AdapterParameters { first_row, a, b }, pair) in
                        adapters.iter().zip(uploaded)
                    {
                        let [a_leaf, b_leaf] = pair.map(matrix);
                        leaves.push((self.lengths(&[*a]), Leaf::Matrix(a_leaf.clone())));
                        leaves.push((self.lengths(&[*b]), Leaf::Matrix(b_leaf.clone())));
                        let first_row = *first_row;
                        linear.adapt(Adapter { first_row, a: a_leaf, b: b_leaf, scale });
                    }
                }
                _ => {}
            }
        }
        Graph { decoder, leaves }
    }

    /// Returns parameters with the lengths of their values.
    fn lengths(&self, parameters: &[usize]) -> ParameterSpans {
        parameters.iter().map(|p| (*p, self.parameters[*p].values.len())).collect()
    }

    /// Stacks parameters on one another to a matrix.
    fn stacked(&self, device: &Device, format: DType, parameters: &[usize]) -> Tensor<2> {
        let inner = self.parameters[parameters[0]].shape[1];
        let slices: Vec<&[f32]> =
            parameters.iter().map(|parameter| &*self.parameters[*parameter].values).collect();
        let rows = slices.iter().map(|values| values.len()).sum::<usize>() / inner;
        let data = match format {
            DType::BF16 => TensorData::new(joined(&slices, bf16::from_f32), [rows, inner]),
            DType::F16 => TensorData::new(joined(&slices, f16::from_f32), [rows, inner]),
            _ => TensorData::new(joined(&slices, |value| value), [rows, inner]),
        };
        Tensor::from_data(data, (device.burn(), format))
    }

    /// Builds decoders for sampling, one for each device, with the current weights: adapters are merged,
    /// matrices are packed for the CPU kernels.
    pub fn merged(&self) -> Vec<Replica> {
        (0..self.replicas.len()).map(|replica| self.merged_at(replica)).collect()
    }

    fn merged_at(&self, replica_index: usize) -> Replica {
        let replica = &self.replicas[replica_index];
        let device = replica.device();
        let mut decoder = replica.decoder().clone_box();
        let pack = |matrix: Tensor<2>| {
            let [out, inner] = matrix.dims();
            if device.has_kernels() {
                Linear::packed(&ops::to_vec(matrix), out, inner)
            } else {
                Linear::from_tensor(matrix)
            }
        };
        let weights = decoder.weights_mut().into_iter().zip(&self.weights).enumerate();
        for (index, (weight, parameters)) in weights {
            match (weight, parameters) {
                (WeightMut::Matrix { linear, .. }, WeightParameters::Whole { .. }) => {
                    if let WeightTensors::Matrix(matrix) = self.uploaded(replica_index, index) {
                        *linear = pack(matrix);
                    }
                }
                (WeightMut::Vector { tensor, .. }, WeightParameters::Whole { .. }) => {
                    if let WeightTensors::Vector(vector) = self.uploaded(replica_index, index) {
                        *tensor = vector;
                    }
                }
                (WeightMut::Matrix { linear, .. }, WeightParameters::Adapted { adapters }) => {
                    let scale = self.lora.as_ref().map_or(1.0, LoraConfig::scale);
                    let [_, inner] = linear.shape();
                    let mut matrix = linear.to_tensor().cast(DType::F32);
                    for AdapterParameters { first_row, a, b } in adapters {
                        let [a, b] = [*a, *b].map(|p| self.stacked(device, DType::F32, &[p]));
                        let product = b.matmul(a) * scale;
                        let rows = *first_row..first_row + product.dims()[0];
                        let sum = matrix.clone().slice([rows.clone(), 0..inner]) + product;
                        matrix = matrix.slice_assign([rows, 0..inner], sum);
                    }
                    *linear = pack(matrix.cast(device.format()));
                }
                _ => {}
            }
        }
        Replica::new(device.clone(), decoder)
    }
}

/// Joins slices and converts their values to another format.
fn joined<T: Send>(slices: &[&[f32]], format: impl Fn(f32) -> T + Sync) -> Vec<T> {
    let mut all = Vec::with_capacity(slices.iter().map(|values| values.len()).sum());
    for values in slices {
        all.par_extend(values.par_iter().map(|value| format(*value)));
    }
    all
}

enum Leaf {
    Matrix(Tensor<2>),
    Vector(Tensor<1>),
}

/// A decoder under autodiff.
pub struct Graph {
    decoder: Box<dyn Decoder>,
    leaves: Vec<(ParameterSpans, Leaf)>,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("leaves", &self.leaves.len()).finish_non_exhaustive()
    }
}

impl Graph {
    /// Returns the decoder.
    pub fn decoder(&self) -> &dyn Decoder {
        &*self.decoder
    }

    /// Adds the gradients of every parameter to `sums`.
    pub fn add_gradients(&self, gradients: &mut Gradients, sums: &mut GradientSums) {
        for (spans, leaf) in &self.leaves {
            match leaf {
                Leaf::Matrix(leaf) => {
                    leaf.grad_remove(gradients)
                        .into_iter()
                        .for_each(|found| sums.add(spans, found));
                }
                Leaf::Vector(leaf) => {
                    leaf.grad_remove(gradients)
                        .into_iter()
                        .for_each(|found| sums.add(spans, found));
                }
            }
        }
    }
}
