use super::*;

#[test]
fn floats_print_as_go_prints_them() {
    let cases: [(f64, &str); 14] = [
        (0.0, "0"),
        (-0.0, "-0"),
        (100_000.0, "100000"),
        (1_000_000.0, "1e+06"),
        (1_234_567.0, "1.234567e+06"),
        (123_456.5, "123456.5"),
        (0.000_1, "0.0001"),
        (1.2345e-5, "1.2345e-05"),
        (1e100, "1e+100"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
        (f64::NAN, "NaN"),
    ];
    for (value, expected) in cases {
        let mut out = Vec::new();
        float(value, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
