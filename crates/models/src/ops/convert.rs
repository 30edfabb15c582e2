//! Conversions between tensors and host values.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// Returns the values of a tensor in row-major order.
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data().convert::<f32>();
    data.try_into_vec().expect("the values were just converted")
}

/// Converts half precision to single precision, for sums of many values.
pub(crate) fn widen<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.cast(DType::F32),
        _ => x,
    }
}

/// Converts row indices to a tensor.
pub(crate) fn indices(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let index = |row: &usize| i64::try_from(*row).expect("tables have fewer rows");
    let data = TensorData::new(rows.iter().map(index).collect::<Vec<i64>>(), [rows.len()]);
    Tensor::from_data(data, device)
}
