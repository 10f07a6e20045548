//! Finds card numbers where none may be: the shop never takes card data, the gateway's own form does.

/// Shortest and longest card number (ISO/IEC 7812 allows up to 19 digits; what is shorter than 13 is no payment card).
const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;

/// Whether a card number stands anywhere in the text: 13 to 19 digits that pass the check of Luhn, in one row or in groups
/// with one space or dash between them. A number among others is found where groups begin and end, never in the middle of
/// a row of digits.
///
/// One in ten other numbers of that length passes the check too. Those that begin as no scheme's do are none: times since
/// 1970 in milliseconds are none.
#[must_use]
pub fn looks_like_card(text: &str) -> bool {
    // The newest digits, and whether a group begins with each.
    let mut newest: Vec<(u8, bool)> = Vec::with_capacity(DIGITS_MAX + 1);
    let mut starts = true;
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            newest.push((digit as u8, starts));
            starts = false;
            if newest.len() > DIGITS_MAX {
                newest.remove(0);
            }
            continue;
        }
        if ends_card(&newest) {
            return true;
        }
        let is_gap = matches!(c, ' ' | '-' | '\u{a0}' | '\u{2010}'..='\u{2015}');
        if !is_gap || starts {
            newest.clear();
        }
        starts = true;
    }
    ends_card(&newest)
}

/// Whether a card's number ends with the last of these digits.
fn ends_card(digits: &[(u8, bool)]) -> bool {
    let from_starts = digits.iter().enumerate().filter(|(_, (_, starts))| *starts);
    from_starts.map(|(at, _)| &digits[at..]).any(|number| {
        number.len() >= DIGITS_MIN && {
            let number: Vec<u8> = number.iter().map(|(digit, _)| *digit).collect();
            may_be_a_schemes(&number) && is_luhn(&number)
        }
    })
}

/// Whether a payment card's number may begin so: the only ones of 13 digits are Visa's, which begin with 4; no scheme's begin
/// with 0, and with 1 only UATP's and JCB's old ones, which have 15. So no time since 1970 is one, be it in milliseconds (13
/// digits), microseconds (16) or nanoseconds (19), nor a row of zeros.
const fn may_be_a_schemes(number: &[u8]) -> bool {
    match (number.len(), number.first()) {
        (_, None | Some(0)) => false,
        (13, Some(first)) => *first == 4,
        (15, Some(_)) => true,
        (_, Some(first)) => *first != 1,
    }
}

/// The check of ISO/IEC 7812-1 annex B: every second digit from the right doubled, the sum of all digits divisible by ten.
fn is_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Numbers of the card schemes' own test cards, of every length there is.
    const CARDS: [&str; 8] = [
        "4222222222222",       // 13
        "30569309025904",      // 14
        "378282246310005",     // 15
        "4242424242424242",    // 16
        "5555555555554444",    // 16
        "6011111111111117",    // 16
        "6759649826438453",    // 16
        "6304000000000000000", // 19
    ];

    /// The row with the digit behind it that makes it pass.
    fn completed(mut digits: Vec<u8>) -> Vec<u8> {
        let last = (0..10).find(|last| is_luhn(&[&digits[..], &[*last]].concat()));
        digits.extend(last);
        digits
    }

    fn text(digits: &[u8]) -> String {
        digits.iter().map(|digit| char::from(b'0' + digit)).collect()
    }

    #[test]
    fn cards_are_found_however_they_are_written() {
        for card in CARDS {
            assert!(looks_like_card(card), "{card}");
            assert!(looks_like_card(&format!("Please charge {card}, thanks")), "{card}");
            assert!(looks_like_card(&format!("card 1 {card} 11/29 123")), "{card}");
        }
        for written in [
            "4242 4242 4242 4242",
            "4242-4242-4242-4242",
            "3782 822463 10005",
            "no:4242\u{a0}4242\u{a0}4242\u{a0}4242.",
        ] {
            assert!(looks_like_card(written), "{written}");
        }
    }

    #[test]
    fn what_people_write_otherwise_is_no_card() {
        for text in [
            "",
            "+49 30 901820",
            "4242424242424241",
            // Times, and a barcode, that pass the check.
            "1790000000005",
            "1790000000000002",
            "1790000000000000005",
            "5012345678908",
            "0000 0000 0000 0000",
            "424242424242",
            "10115 Berlin, 2nd floor, ring 4 times",
            "DE89 3704 0044 0532 0130 00",
            "ord_0123456789abcdefghjkmnpqrs",
            "2026-11-25T21:17:00.123Z",
            "4242  4242  4242  4242",
        ] {
            assert!(!looks_like_card(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_number_that_passes_the_check_is_found_and_its_neighbours_are_not(
            head in vec(0_u8..10, DIGITS_MIN - 1..DIGITS_MAX),
            wrong in 1_u8..10,
            before in "[a-zäß€(\n]{0,5}",
            after in "[a-zäß€)\n]{0,5}",
            gaps in vec(any::<bool>(), DIGITS_MAX),
            dash in any::<bool>(),
        ) {
            let mut card = completed(head);
            prop_assume!(may_be_a_schemes(&card));
            let mut spaced = String::new();
            for (digit, gap) in text(&card).chars().zip(gaps) {
                if gap && !spaced.is_empty() {
                    spaced.push(if dash { '-' } else { ' ' });
                }
                spaced.push(digit);
            }
            prop_assert!(looks_like_card(&format!("{before}{spaced}{after}")), "{}", spaced);
            let last = card.len() - 1;
            card[last] = (card[last] + wrong) % 10;
            let wrong = format!("{before}{}{after}", text(&card));
            prop_assert!(!looks_like_card(&wrong), "{}", wrong);
        }

        #[test]
        fn shorter_and_longer_rows_are_none(
            short in vec(0_u8..10, 0..DIGITS_MIN - 1),
            long in vec(0_u8..10, DIGITS_MAX..40),
        ) {
            prop_assert!(!looks_like_card(&text(&completed(short))));
            prop_assert!(!looks_like_card(&text(&completed(long))));
        }

        #[test]
        fn any_text_may_be_asked(text in ".{0,200}") {
            let _ = looks_like_card(&text);
        }
    }
}
