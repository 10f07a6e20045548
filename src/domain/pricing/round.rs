//! How amounts are rounded and shared. Everything is integer arithmetic in 128 bits: nothing is lost before it is
//! rounded once.

/// Basis points that make the whole.
const WHOLE: i128 = 10_000;

/// `amount` × `basis_points` / 10,000, rounded half up. Of a negative amount: nothing.
#[must_use]
pub fn percent(amount: i64, basis_points: u16) -> i64 {
    half_up(i128::from(amount.max(0)) * i128::from(basis_points), WHOLE)
}

/// The tax that is part of an amount which includes it, rounded half up. Of a negative amount: nothing.
#[must_use]
pub fn tax_within(amount: i64, basis_points: u16) -> i64 {
    let points = i128::from(basis_points);
    half_up(i128::from(amount.max(0)) * points, WHOLE + points)
}

/// Of numbers that are not negative.
fn half_up(number: i128, by: i128) -> i64 {
    // At most 2^63 × 2^16 / 10^4: saturates instead of wrapping; the sum that it goes into is checked.
    i64::try_from((2 * number + by) / (2 * by)).unwrap_or(i64::MAX)
}

/// Shares `total` among `weights` in their proportion, exactly: each gets the whole units of its share, and those whose
/// remainder is largest get one more until `total` is spent; of equal remainders the earlier one first.
///
/// No share is more than its weight where `total` is at most their sum. Weights that are zero or negative get nothing;
/// without any other weight, or without a positive total, nobody gets anything.
#[must_use]
pub fn allocate(total: i64, weights: &[i64]) -> Vec<i64> {
    let mut shares = vec![0; weights.len()];
    let weight = |at: usize| i128::from(weights[at].max(0));
    let sum: i128 = (0..weights.len()).map(weight).sum();
    if sum == 0 || total <= 0 {
        return shares;
    }
    let mut left = total;
    let mut remainders: Vec<(i128, usize)> = Vec::with_capacity(weights.len());
    for (at, share) in shares.iter_mut().enumerate() {
        let product = i128::from(total) * weight(at);
        // At most `total`, since a weight is at most the sum.
        *share = i64::try_from(product / sum).unwrap_or(0);
        left -= *share;
        remainders.push((product % sum, at));
    }
    // Stable: equal remainders stay in their order.
    remainders.sort_by_key(|(remainder, _)| std::cmp::Reverse(*remainder));
    for (_, at) in remainders.into_iter().take(usize::try_from(left).unwrap_or(0)) {
        shares[at] += 1;
    }
    shares
}
