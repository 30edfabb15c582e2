//! The global norm of a gradient, and its bound.
//!
//! Squares are added up in double precision, in an order that does not depend on the number of
//! threads: eight running sums within a chunk, chunks in order, parameters in the order of the calls.

use rayon::prelude::*;

use crate::Error;

/// Values per task.
const CHUNK: usize = 1 << 14;

/// Running sums within a chunk.
const LANES: usize = 8;

/// The sum of the squares of the gradients of all parameters.
///
/// ```
/// let mut norm = preceptor_trainer::GradientNorm::default();
/// norm.add("q_proj", &[3.0, 0.0])?;
/// norm.add("k_proj", &[4.0])?;
/// assert_eq!(norm.value(), 5.0);
/// # Ok::<(), preceptor_trainer::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GradientNorm {
    squares: f64,
}

impl GradientNorm {
    /// Adds the gradient of `parameter` and returns the norm of that gradient.
    ///
    /// # Errors
    ///
    /// [`Error::NonFiniteGradient`] for an element that is infinite or not a number.
    pub fn add(&mut self, parameter: &str, gradient: &[f32]) -> Result<f64, Error> {
        let chunks: Vec<f64> = gradient.par_chunks(CHUNK).map(sum_of_squares).collect();
        let squares: f64 = chunks.into_iter().sum();
        if !squares.is_finite()
            && let Some(index) = gradient.iter().position(|value| !value.is_finite())
        {
            let (parameter, value) = (parameter.to_owned(), gradient[index]);
            return Err(Error::NonFiniteGradient { parameter, index, value });
        }
        self.squares += squares;
        Ok(squares.sqrt())
    }

    /// Returns the norm of all gradients together.
    pub fn value(&self) -> f64 {
        self.squares.sqrt()
    }
}

/// Returns the factor that limits gradients of norm `norm` to at most `max_norm`; 1 if `max_norm` is 0,
/// which stands for no bound.
///
/// The formula is that of torch's `clip_grad_norm_`: `min(1, max_norm / (norm + 1e-6))`.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 }
}

fn sum_of_squares(chunk: &[f32]) -> f64 {
    let square = |value: f32| f64::from(value) * f64::from(value);
    let mut sums = [0.0; LANES];
    let groups = chunk.chunks_exact(LANES);
    let rest = groups.remainder();
    for group in groups {
        for (sum, &value) in sums.iter_mut().zip(group) {
            *sum += square(value);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().copied().map(square).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gradient_that_is_not_finite_is_named() {
        let mut norm = GradientNorm::default();
        norm.add("lm_head", &[1.0; 20]).unwrap();
        let mut gradient = vec![1.0; 3 * CHUNK];
        gradient[CHUNK + 5] = f32::NAN;
        gradient[2 * CHUNK] = f32::INFINITY;
        let error = norm.add("model.norm", &gradient).unwrap_err().to_string();
        let index = CHUNK + 5;
        let expected = format!("the gradient of `model.norm` is NaN at element {index}");
        assert!(error.contains(&expected), "{error}");
    }

    #[test]
    fn the_largest_gradients_have_a_norm() {
        let mut norm = GradientNorm::default();
        norm.add("w", &[f32::MAX; 4]).unwrap();
        assert_eq!(norm.value(), 2.0 * f64::from(f32::MAX));
    }

    #[test]
    fn small_gradients_are_left_alone_and_zero_is_no_bound() {
        assert_eq!(clip_factor(0.5, 1.0), 1.0);
        assert_eq!(clip_factor(4.0, 1.0), 1.0 / (4.0 + 1e-6));
        assert_eq!(clip_factor(1e9, 0.0), 1.0);
    }
}
