//! Expected texts are those of Go 1.26 with sprig 3.3.

use crate::functions::testing::{limited, render};
use crate::limits::{Limit, Limits};

/// Renders each template and compares with what Go's engine gave.
fn check(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(render(template), *expected, "{template}");
    }
}

#[test]
fn text_takes_width_precision_and_flags() {
    check(&[
        (
            r#"{{ printf "[%s][%6s][%-6s][%06s][%.2s][%6.2s]" "abc" "abc" "abc" "abc" "abc" "abc" }}"#,
            "[abc][   abc][abc   ][000abc][ab][    ab]",
        ),
        (
            "{{ printf \"[%5s][%.1s][%.2s]\" \"日本語\" \"日本語\" \"日本語\" }}",
            "[  日本語][日][日本]",
        ),
        (
            r#"{{ printf "%x %X % x %#x %# x %.2x|%8x|%-8x|%08x" "hi!" "hi!" "hi!" "hi!" "hi!" "hi!" "hi!" "hi!" "a" }}"#,
            "686921 686921 68 69 21 0x686921 0x68 0x69 0x21 6869|  686921|686921  |00000061",
        ),
        (
            "{{ printf \"%q %+q %#q %#q %#q\" \"é\\t\\x00\" \"é😀\" \"tab\\there\" \"tick`\" \"nl\\n\" }}",
            "\"é\\t\\x00\" \"\\u00e9\\U0001f600\" `tab\there` \"tick`\" \"nl\\n\"",
        ),
        (
            r#"{{ printf "%.2q %8q|%-8q|%08q" "abc" "a" "a" "a" }}"#,
            r#""ab"      "a"|"a"     |00000"a""#,
        ),
        (
            r#"{{ printf "%q" "\xff\xe2\x82 \ufffd \u200b \u00ad \U000e0001" }}"#,
            "\"\\xff\\xe2\\x82 � \\u200b \\u00ad \\U000e0001\"",
        ),
        (
            r#"{{ printf "%v %+v %#v" "a\"b" "a\"b" "a\"b" }}"#,
            r#"a"b a"b "a\"b""#,
        ),
        (r#"{{ printf "%x|%5x|%X|% x" "" "" "" "" }}"#, "|     ||"),
        (
            r#"{{ printf "%d %t %c %e %p %U" "s" "s" "s" "s" "s" "s" }}"#,
            "%!d(string=s) %!t(string=s) %!c(string=s) %!e(string=s) %!p(string=s) %!U(string=s)",
        ),
        ("{{ printf \"%5d\" \"é\" }}", "%!d(string=    é)"),
        (r#"{{ printf "%+.1d" "abc" }}"#, "%!d(string=a)"),
    ]);
}

#[test]
fn integers_take_width_precision_and_flags() {
    check(&[
        (
            r#"{{ printf "%d|%5d|%-5d|%05d|%+d|% d|%+05d|% 05d|%-05d|" 42 42 42 42 42 42 42 42 42 }}"#,
            "42|   42|42   |00042|+42| 42|+0042| 0042|42   |",
        ),
        (
            r#"{{ printf "%d|%05d|%x|%+x|%#x|%b|%o" -42 -42 -42 -42 -42 -42 -42 }}"#,
            "-42|-0042|-2a|-2a|-0x2a|-101010|-52",
        ),
        (
            r#"{{ printf "%.5d|%8.5d|%-8.5d|%08.5d|%+.5d|%.0d|%5.0d|%+.0d|" 42 42 42 42 42 0 0 0 }}"#,
            "00042|   00042|00042   |   00042|+00042||     ||",
        ),
        (
            r#"{{ printf "%b %o %O %x %X %#b %#o %#O %#x %#X" 77 77 77 77 77 77 77 77 77 77 }}"#,
            "1001101 115 0o115 4d 4D 0b1001101 0115 0o0115 0x4d 0X4D",
        ),
        (
            r#"{{ printf "%#o %O %#O %#x %#.3o" 0 0 0 0 7 }}"#,
            "0 0o0 0o0 0x0 007",
        ),
        (
            r#"{{ printf "%#08x|%#-8x|%#8x|% #x|%+#X" 255 255 255 255 255 }}"#,
            "0x000000ff|0xff    |    0xff| 0xff|+0XFF",
        ),
        (
            r#"{{ printf "%c %q %U %#U %+q %5c|%-5q|%08U|%.6U|%#.6U" 8364 8364 8364 8364 8364 8364 8364 8364 8364 8364 }}"#,
            "€ '€' U+20AC U+20AC '€' '\\u20ac'     €|'€'  |  U+20AC|U+0020AC|U+0020AC '€'",
        ),
        (
            r#"{{ printf "%c %q %U %#U %c %#U" -1 -1 -1 -1 0x110000 0xD800 }}"#,
            "� '�' U+FFFFFFFFFFFFFFFF U+FFFFFFFFFFFFFFFF � U+D800",
        ),
        (
            r#"{{ printf "%q %q %q %+q" 39 10 0x200b 0x1F600 }}"#,
            r#"'\'' '\n' '\u200b' '\U0001f600'"#,
        ),
        (
            r#"{{ printf "%d %x %b" -9223372036854775808 -9223372036854775808 -9223372036854775808 }}"#,
            "-9223372036854775808 -8000000000000000 -1000000000000000000000000000000000000000000000000000000000000000",
        ),
        (
            r#"{{ printf "%s %f %t %e %p %z" 1 2 3 4 5 6 }}"#,
            "%!s(int=1) %!f(int=2) %!t(int=3) %!e(int=4) %!p(int=5) %!z(int=6)",
        ),
        (
            r#"{{ printf "%+s %#d %5s %-5t|" 1 2 3 4 }}"#,
            "%!s(int=+1) 2 %!s(int=    3) %!t(int=4    )|",
        ),
        (
            r#"{{ printf "%#v %v %T" (index "A" 0) (index "A" 0) (index "A" 0) }}"#,
            "0x41 65 uint8",
        ),
        (r#"{{ printf "%#v %#v %+v" 42 (int64 42) 42 }}"#, "42 42 42"),
    ]);
}

#[test]
fn floats_take_width_precision_and_flags() {
    check(&[
        (
            r#"{{ printf "%v %g %G %e %E %f %F" 1234567.891 1234567.891 1234567.891 1234567.891 1234567.891 1234567.891 1234567.891 }}"#,
            "1.234567891e+06 1.234567891e+06 1.234567891E+06 1.234568e+06 1.234568E+06 1234567.891000 1234567.891000",
        ),
        (
            r#"{{ printf "%.0f %.0f %.0f %.0f %.1f %.1f %.2f" 0.5 1.5 2.5 3.5 0.25 0.35 1.005 }}"#,
            "0 2 2 4 0.2 0.3 1.00",
        ),
        (
            r#"{{ printf "%.3g %.10g %.1g %.0g %g" 1234.5678 100000.0 99.0 99.0 100000.0 }}"#,
            "1.23e+03 100000 1e+02 1e+02 100000",
        ),
        (
            r#"{{ printf "%b %x %X %.0x %.3x %.15x %#x" 1.0 1.5 0.1 1.5 3.14159 0.1 1.0 }}"#,
            "4503599627370496p-52 0x1.8p+00 0X1.999999999999AP-04 0x1p+01 0x1.922p+01 0x1.999999999999a00p-04 0x1.0000p+00",
        ),
        (
            r#"{{ printf "%9.2f|%-9.2f|%09.2f|%+.1f|% .1f|%+09.2f|%-09.2f|" 3.14159 3.14159 3.14159 3.14159 3.14159 3.14159 3.14159 }}"#,
            "     3.14|3.14     |000003.14|+3.1| 3.1|+00003.14|3.14     |",
        ),
        (
            r#"{{ printf "%09.2f|%9.2e|%-9.1e|" -2.5 -2.5 -2.5 }}"#,
            "-00002.50|-2.50e+00|-2.5e+00 |",
        ),
        (
            r#"{{ printf "%#g %#.3g %#v %#f %#.0f %#.0e %#x %#.5X" 1.0 1.0 1e6 1.0 2.0 2.0 1.0 1.0 }}"#,
            "1.00000 1.00 1e+06 1.000000 2. 2.e+00 0x1.0000p+00 0X1.00000P+00",
        ),
        (
            r#"{{ printf "%5f|%-6f|%06f|%+f|% f|%e|%x" (float64 "inf") (float64 "-inf") (float64 "inf") (float64 "inf") (float64 "inf") (float64 "inf") (float64 "inf") }}"#,
            " +Inf|-Inf  |  +Inf|+Inf| Inf|+Inf|+Inf",
        ),
        (
            r#"{{ printf "%5f|%-6f|%06f|%+f|% f|%e|%x" (float64 "nan") (float64 "nan") (float64 "nan") (float64 "nan") (float64 "nan") (float64 "nan") (float64 "nan") }}"#,
            "  NaN|NaN   |   NaN|+NaN| NaN|NaN|NaN",
        ),
        (
            r#"{{ printf "%v %f %e %x %g %+d" (float64 "-0") (float64 "-0") (float64 "-0") (float64 "-0") 0.0 1.5 }}"#,
            "-0 -0.000000 -0.000000e+00 -0x0p+00 0 %!d(float64=+1.5)",
        ),
        (
            r#"{{ printf "%.30f %.25e %.40g" 0.1 0.1 0.1 }}"#,
            "0.100000000000000005551115123126 1.0000000000000000555111512e-01 0.1000000000000000055511151231257827021182",
        ),
        (
            r#"{{ printf "%g %e %x %b" (float64 "5e-324") (float64 "5e-324") (float64 "5e-324") (float64 "5e-324") }}"#,
            "5e-324 4.940656e-324 0x1p-1074 1p-1074",
        ),
        (
            r#"{{ printf "%v %.2f %g %8.1f|%+v %x %d" 2i 1+2i 0.5i 1-2i 1i 1.5i 1i }}"#,
            "(0+2i) (1.00+2.00i) (0+0.5i) (     1.0    -2.0i)|(0+1i) (0x0p+00+0x1.8p+00i) %!d(complex128=(0+1i))",
        ),
        (
            r#"{{ printf "%s %q %t %U" 1.5 1.5 1.5 1.5 }}"#,
            "%!s(float64=1.5) %!q(float64=1.5) %!t(float64=1.5) %!U(float64=1.5)",
        ),
    ]);
}

#[test]
fn verbs_go_into_lists_and_maps() {
    check(&[
        (
            r#"{{ printf "%v %d %s %q %x" (list 1 2) (list 1 2) (list "a" "b") (list "a") (list "hi" 10) }}"#,
            r#"[1 2] [1 2] [a b] ["a"] [6869 a]"#,
        ),
        (
            r#"{{ printf "%v %s %d" (dict "b" 1 "a" "x") (dict "k" "v") (dict "k" 5) }}"#,
            "map[a:x b:1] map[k:v] map[%!d(string=k):5]",
        ),
        (
            r#"{{ printf "%#v" (list 1 "a" 2.0 nil true (list) (dict "k" nil)) }}"#,
            r#"[]interface {}{1, "a", 2, interface {}(nil), true, []interface {}{}, map[string]interface {}{"k":interface {}(nil)}}"#,
        ),
        (
            r#"{{ printf "%#v %#v %#v %#v" (rest list) (splitList "," "a,b") (until 2) (chunk 1 (list 1)) }}"#,
            r#"[]interface {}(nil) []string{"a", "b"} []int{0, 1} [][]interface {}{[]interface {}{1}}"#,
        ),
        (
            r#"{{ printf "%5v|%-5v|%05d|%+d" (list 1 "a") (list 1 "a") (list 1 2) (list 1 2) }}"#,
            "[    1     a]|[1     a    ]|[00001 00002]|[+1 +2]",
        ),
        (
            r#"{{ printf "%d %s %x" (list nil) (list nil "a") (dict "k" nil) }}"#,
            "[<nil>] [<nil> a] map[6b:<nil>]",
        ),
        (
            r#"{{ printf "%T %T %T %T" (list) (until 1) (dict) . }}"#,
            "[]interface {} []int map[string]interface {} map[string]string",
        ),
        (
            r#"{{ printf "%t %z" (list true 1) (list) }}"#,
            "[true %!t(int=1)] []",
        ),
        (
            r#"{{ printf "%#v %v" (split "," "a,b") (split "," "a,b") }}"#,
            r#"map[string]string{"_0":"a", "_1":"b"} map[_0:a _1:b]"#,
        ),
        (
            r#"{{ printf "%v %s %d %#v %x %q" (dict "n" (list (dict "m" 1.5))) (list) (dict) (dict) (list) (dict "" "") }}"#,
            r#"map[n:[map[m:1.5]]] [] map[] map[string]interface {}{} [] map["":""]"#,
        ),
    ]);
}

#[test]
fn times_durations_and_versions_show_their_text_or_fields() {
    check(&[
        (
            r#"{{ printf "%v|%s|%q|%x" (toDate "2006-01-02" "2031-07-09").UTC (toDate "2006-01-02" "2031-07-09").UTC (toDate "2006-01-02" "2031-07-09").UTC.Month (toDate "2006-01-02" "2031-07-09").UTC.Weekday }}"#,
            r#"2031-07-09 00:00:00 +0000 UTC|2031-07-09 00:00:00 +0000 UTC|"July"|5765646e6573646179"#,
        ),
        (
            r#"{{ printf "%d %+v %#v" (toDate "2006-01-02" "2031-07-09").UTC (toDate "2006-01-02" "2031-07-09").UTC (toDate "2006-01-02" "2031-07-09").UTC }}"#,
            "{0 64076918400 0} 2031-07-09 00:00:00 +0000 UTC time.Date(2031, time.July, 9, 0, 0, 0, 0, time.UTC)",
        ),
        (
            r#"{{ printf "%d %v %z %5.2s|%#v" (toDate "2006-01-02" "2031-07-09").Month (list (toDate "2006-01-02" "2031-07-09").Month) (toDate "2006-01-02" "2031-07-09").Month (toDate "2006-01-02" "2031-07-09").Month (toDate "2006-01-02" "2031-07-09").Month }}"#,
            "7 [July] %!z(time.Month=7)    Ju|7",
        ),
        (
            r#"{{ printf "%v %d %z" ((toDate "2006" "2031").Sub (toDate "2006-01" "2030-12")) ((toDate "2006" "2031").Sub (toDate "2006-01" "2030-12")) ((toDate "2006" "2031").Sub (toDate "2006-01" "2030-12")) }}"#,
            "744h0m0s 2678400000000000 %!z(time.Duration=2678400000000000)",
        ),
        (
            r#"{{ printf "%v %s %q %d %#v" (semver "v1.2.3-rc.1+b5") (list (semver "v2")) (semver "1.0.0") (semver "1.2.3") (semver "1.2.3") }}"#,
            r#"1.2.3-rc.1+b5 [2.0.0] "1.0.0" &{1 2 3 %!d(string=) %!d(string=) %!d(string=1.2.3)} &semver.Version{major:0x1, minor:0x2, patch:0x3, pre:"", metadata:"", original:"1.2.3"}"#,
        ),
        (
            r#"{{ printf "%t %v %d" ((semver "1.2.3").IncMajor) ((semver "1.2.3").IncMajor) ((semver "1.2.3").IncMajor) }}"#,
            "{%!t(uint64=2) %!t(uint64=0) %!t(uint64=0) %!t(string=) %!t(string=) %!t(string=2.0.0)} 2.0.0 {2 0 0 %!d(string=) %!d(string=) %!d(string=2.0.0)}",
        ),
        (
            r#"{{ printf "%s %v %x %d %#v %w" ((toDate "2006" "2031").MarshalText) ((toDate "2006" "2031").MarshalText) ((toDate "2006" "2031").MarshalText) ((toDate "2006" "2031").MarshalText) ((toDate "2006" "2031").MarshalText) ((toDate "2006" "2031").MarshalText) }}"#,
            "2031-01-01T00:00:00Z [50 48 51 49 45 48 49 45 48 49 84 48 48 58 48 48 58 48 48 90] 323033312d30312d30315430303a30303a30305a [50 48 51 49 45 48 49 45 48 49 84 48 48 58 48 48 58 48 48 90] []byte{0x32, 0x30, 0x33, 0x31, 0x2d, 0x30, 0x31, 0x2d, 0x30, 0x31, 0x54, 0x30, 0x30, 0x3a, 0x30, 0x30, 0x3a, 0x30, 0x30, 0x5a} [%!w(uint8=50) %!w(uint8=48) %!w(uint8=51) %!w(uint8=49) %!w(uint8=45) %!w(uint8=48) %!w(uint8=49) %!w(uint8=45) %!w(uint8=48) %!w(uint8=49) %!w(uint8=84) %!w(uint8=48) %!w(uint8=48) %!w(uint8=58) %!w(uint8=48) %!w(uint8=48) %!w(uint8=58) %!w(uint8=48) %!w(uint8=48) %!w(uint8=90)]",
        ),
        (
            r#"{{ printf "%v %s %d %#v" (toDate "2006" "2031").UTC.Location (toDate "2006" "2031").UTC.Location (toDate "2006" "2031").UTC.Location (toDate "2006" "2031").UTC.Location }}"#,
            r#"UTC UTC &{%!d(string=UTC) [] [] %!d(string=) 0 0 0} &time.Location{name:"UTC", zone:[]time.zone(nil), tx:[]time.zoneTrans(nil), extend:"", cacheStart:0, cacheEnd:0, cacheZone:(*time.zone)(nil)}"#,
        ),
    ]);
}

#[test]
fn wrong_directives_are_told_in_the_output() {
    check(&[
        (r#"{{ printf "%d %s" 1 }}"#, "1 %!s(MISSING)"),
        (
            r#"{{ printf "%s" "a" "b" 3 nil }}"#,
            "a%!(EXTRA string=b, int=3, <nil>)",
        ),
        (r#"{{ printf "%!" 1 }}"#, "%!!(int=1)"),
        (
            r#"{{ printf "%" }}|{{ printf "%5" }}|{{ printf "%.2" 1 }}|{{ printf "%." 1 }}"#,
            "%!(NOVERB)|%!(NOVERB)|%!(NOVERB)%!(EXTRA int=1)|%!.(int=1)",
        ),
        (
            "{{ printf \"%z %é %.3k\" 1 \"a\" 2.5 }}",
            "%!z(int=1) %!é(string=a) %!k(float64=2.5)",
        ),
        (
            r#"{{ printf "%s|%d|%v|%q|%T|%5v|%-7v|" nil nil nil nil nil nil nil }}"#,
            "%!s(<nil>)|%!d(<nil>)|<nil>|%!q(<nil>)|<nil>|<nil>|<nil>  |",
        ),
        (r#"{{ printf "%%d %5%|%-3.2%|"  }}"#, "%d %|%|"),
        (
            r#"{{ printf "%w %w %+w %#w" 1 (list 1) 2 (list "a") }}"#,
            r#"%!w(int=1) %!w([]interface {}=[1]) %!w(int=2) %!w([]interface {}=[]interface {}{"a"})"#,
        ),
        (r#"{{ printf "%[2]d %[1]d" 1 2 }}"#, "2 1"),
        (
            r#"{{ printf "%[2]*[1]d|%[1]s %[1]q %s" 7 5 "a" }}"#,
            r#"    7|%!s(int=7) '\a' %!s(int=5)"#,
        ),
        (
            r#"{{ printf "%[5]d %[x]d %[0]d %[]d %[-1]d" 1 2 }}"#,
            "%!d(BADINDEX) %!d(BADINDEX) %!d(BADINDEX) %!d(BADINDEX) %!d(BADINDEX)",
        ),
        (r#"{{ printf "%[1]" 1 }}"#, "%!(NOVERB)"),
        (r#"{{ printf "%[1" 1 }}"#, "%!(NOVERB)"),
        (
            r#"{{ printf "%[1]5d|%[1].2d|%[3]*.[2]*[1]f|" 12.0 2 6 }}"#,
            "%!d(BADINDEX)|%!d(BADINDEX)| 12.00|",
        ),
        (
            r#"{{ printf "%*d|%-*d|%.*f|%*d" 4 1 4 2 1 2.345 -5 6 }}"#,
            "   1|2   |2.3|6    ",
        ),
        (
            r#"{{ printf "%*d|%*d|%.*d|%*d" 1000001 5 "x" 5 -1 5 2.0 5 }}"#,
            "%!(BADWIDTH)5|%!(BADWIDTH)5|%!(BADPREC)5|%!(BADWIDTH)5",
        ),
        (r#"{{ printf "%*d" 5 }}"#, "%!d(MISSING)"),
        (
            r#"{{ printf "%.*d|%.*d" (int64 3) 5 (index "A" 0) 5 }}"#,
            "005|00000000000000000000000000000000000000000000000000000000000000005",
        ),
        (
            r#"{{ printf "%99999999d" 5 }}"#,
            "%!(NOVERB)%!(EXTRA int=5)",
        ),
        (
            r#"{{ printf "%.99999999d" 5 }}"#,
            "%!(NOVERB)%!(EXTRA int=5)",
        ),
        (r#"{{ printf "%1000001d" 5 | len }}"#, "1000001"),
        (
            r#"{{ printf "%-+05d|%+-5d|% +d|%0-5d|" 1 2 3 4 }}"#,
            "+1   |+2   |+3|4    |",
        ),
        (
            r#"{{ printf "%t %5t|%-6t|%v %d %q" true false true false true true }}"#,
            "true false|true  |false %!d(bool=true) %!q(bool=true)",
        ),
        (
            r#"{{ printf "%6.2f%%|%3c|%-3c|" 12.3456 65 66 }}"#,
            " 12.35%|  A|B  |",
        ),
        (r#"{{ printf "no verbs" 1 }}"#, "no verbs%!(EXTRA int=1)"),
        (
            r#"{{ printf "" 1 2.5 "x" }}"#,
            "%!(EXTRA int=1, float64=2.5, string=x)",
        ),
    ]);
}

#[test]
fn print_puts_blanks_between_what_is_no_string() {
    check(&[
        (
            r#"{{ print "x" 1 2 "y" 3.5 nil true }}"#,
            "x1 2y3.5 <nil> true",
        ),
        (
            r#"{{ print 1 nil 2 }}|{{ print "a" "b" "c" }}|{{ print }}"#,
            "1 <nil> 2|abc|",
        ),
        (
            r#"{{ println "x" 1 2 }}{{ println }}{{ println nil (list 1) }}"#,
            "x 1 2\n\n<nil> [1]\n",
        ),
        (
            r#"{{ print (list 1 "a") (dict "k" nil) }}"#,
            "[1 a] map[k:<nil>]",
        ),
        (
            r#"{{ list nil (list) (dict) "" }}|{{ dict "b" 1 "a" (list 1.5 true) }}"#,
            "[<nil> [] map[] ]|map[a:[1.5 true] b:1]",
        ),
        (
            "{{ 2i }} {{ -1.5-0.5i }} {{ list 1e6+1e-7i }}",
            "(0+2i) (-1.5-0.5i) [(1e+06+1e-07i)]",
        ),
    ]);
}

#[test]
fn escapers_escape_as_go_does() {
    check(&[
        (
            r#"{{ html "<b id='x'>&\"</b>" }} {{ html "\x00" }} {{ html 1 nil true }} {{ html nil }} {{ html nil nil 1 2 }}"#,
            "&lt;b id=&#39;x&#39;&gt;&amp;&#34;&lt;/b&gt; � 1&lt;no value&gt;true &lt;no value&gt; &lt;no value&gt;&lt;no value&gt;1 2",
        ),
        (
            r#"{{ js "it's \"q\" \\ <x> & = \n\r\t`" }}"#,
            r#"it\'s \"q\" \\ \u003Cx\u003E \u0026 \u003D \u000A\u000D\u0009`"#,
        ),
        (
            "{{ js \"é 😀 \\u2028 \\u200e \\U000e0001 \\x7f \\ufffd\" }} {{ js \"a\" 1 2 nil }}",
            "é 😀 \\u2028 \\u200E \\uE0001 \u{7f} � a1 2\\u003Cno value\\u003E",
        ),
        (
            "{{ urlquery \"k=v&x y/ü+~*'()\" }} {{ urlquery \"a\" \"b\" 1 2 nil }}",
            "k%3Dv%26x+y%2F%C3%BC%2B~%2A%27%28%29 ab1+2%3Cno+value%3E",
        ),
        (
            r#"{{ html (list "<" 1) }} {{ js (dict "k" "<v>") }} {{ urlquery (list "a" "b") }}"#,
            r#"[&lt; 1] map[k:\u003Cv\u003E] %5Ba+b%5D"#,
        ),
        (
            r#"{{ html (semver "1.0.0") }}{{ html }}{{ js }}{{ urlquery }}"#,
            "1.0.0",
        ),
    ]);
}

#[test]
fn widths_and_precisions_stop_at_the_limit_before_they_take_memory() {
    let limits = Limits {
        memory: 100_000,
        ..Limits::default()
    };
    for template in [
        r#"{{ printf "%1000000d" 1 }}"#,
        r#"{{ printf "%.1000000d" 1 }}"#,
        r#"{{ printf "%*s" 1000000 "x" }}"#,
        r#"{{ printf "%1000000.1000000f" 1.0 }}"#,
        r#"{{ printf "%.1000000e" 1.0 }}"#,
        r#"{{ printf "%.1000000x" 1.0 }}"#,
        r#"{{ printf "%.1000000U" 1 }}"#,
        r#"{{ printf "%90000q%90000v" "x" nil }}"#,
        r#"{{ printf "%01000000d" (list 1 2 3) }}"#,
        r#"{{ $s := printf "%1000d" 1 }}{{ range until 200 }}{{ $s = print $s $s }}{{ end }}"#,
    ] {
        assert_eq!(
            limited(template, limits),
            Err(Some(Limit::Memory)),
            "{template}"
        );
    }
}

#[test]
fn a_dict_that_contains_itself_stops_at_the_nesting_limit() {
    let limits = Limits::default();
    for step in [
        r#"{{ $d }}"#,
        r#"{{ print $d }}"#,
        r#"{{ printf "%d" $d }}"#,
        r#"{{ printf "%#v" (list $d) }}"#,
        r#"{{ html $d }}"#,
        r#"{{ toString $d }}"#,
        r#"{{ toDecimal $d }}"#,
    ] {
        let template = format!(r#"{{{{ $d := dict }}}}{{{{ $_ := set $d "x" $d }}}}{step}"#);
        assert_eq!(
            limited(&template, limits),
            Err(Some(Limit::Nesting)),
            "{template}"
        );
    }
}
