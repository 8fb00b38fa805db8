//! Tests of the syntax: what it reads, what it writes, what it refuses and where.

use super::*;
use crate::targeting::{Attribute, DaypartZone, Expression, Predicate, WeekHours};

fn json(text: &str) -> Result<Expression, Vec<SyntaxError>> {
    parse_json(text.as_bytes())
}

fn has(attribute: Attribute, values: &[&str]) -> Expression {
    Expression::Is(Predicate::Has { attribute, any_of: values.iter().map(|&value| value.to_owned()).collect() })
}

#[test]
fn an_object_holds_when_all_its_fields_do() {
    let expression = json(r#"{"country":["SE","NO","se"],"not":{"genre":["Kids"]}}"#).expect("targeting");
    let negation = Expression::Not(Box::new(has(Attribute::Genre, &["kids"])));
    assert_eq!(expression, Expression::All(vec![has(Attribute::Country, &["no", "se"]), negation]));
    assert_eq!(json("{}"), Ok(Expression::everybody()));
    assert_eq!(json(r#"{"country":["SE"]}"#), Ok(has(Attribute::Country, &["se"])));
}

#[test]
fn hours_are_those_of_the_days_named() {
    let expression = json(
        r#"{"daypart":{"time_zone":"line_item","hours":[{"days":["mon","sun"],"from":22,"to":24},{"from":0,"to":1}]}}"#,
    );
    let hours: WeekHours = [22, 23, 166, 167].into_iter().chain((0..168).step_by(24)).collect();
    assert_eq!(expression, Ok(Expression::Is(Predicate::Daypart { zone: DaypartZone::LineItem, hours })));
}

#[test]
fn what_is_written_reads_back_the_same() {
    for text in [
        "{}",
        r#"{"country":["no","se"]}"#,
        r#"{"all":[{"country":["no"]}]}"#,
        r#"{"all":[{"genre":["a"]},{"country":["no"]}]}"#,
        r#"{"country":["no","se"],"genre":["rock"],"not":{"any":[{"mood":["sad"]},{"age":[{"from":0,"to":17}]}]}}"#,
        r#"{"key_value":{"mood":["calm"],"tempo":["fast","slow"]},"daypart":{"time_zone":"listener","hours":[{"days":["mon","tue"],"from":6,"to":10}]}}"#,
        r#"{"os_version":[{"at_least":"12.1","below":"14"}],"app_version":[{"below":"3.0.0.1"}],"within":[{"latitude":59.3,"longitude":18.1,"radius_m":5000}]}"#,
        r#"{"explicit":false,"any":[{"platform":["ios"],"segment":["runners"]},{"not":{"break_position":["pre_roll"]}}]}"#,
        r#"{"region":["se-ab"],"city":["se/stockholm"],"postal_code":["se/11122"],"language":["sv"],"gender":["female"],"platform":["car"],"device_type":["phone"],"os":["linux"],"connection":["wifi"],"playlist":["p"],"artist":["x"],"content_category":["iab1"],"app":["App"],"placement":["Music"],"taste_genre":["jazz"],"taste_mood":["calm"],"all":[]}"#,
    ] {
        let expression = json(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        let written = serde_json::to_string(&write(&expression)).expect("JSON");
        assert_eq!(json(&written).as_ref(), Ok(&expression), "{written}");
        let as_value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(as_value(&written), as_value(text));
    }
}

#[test]
fn what_is_wrong_is_named_by_path() {
    let deep = format!("{}{{}}{}", r#"{"not":"#.repeat(16), "}".repeat(16));
    let very_deep = format!("{}{{}}{}", r#"{"not":"#.repeat(5_000), "}".repeat(5_000));
    let many = format!(r#"{{"country":[{}"SE"]}}"#, r#""SE","#.repeat(VALUES_MAX));
    let product: Vec<String> =
        (0..7).map(|n| format!(r#"{{"any":[{{"genre":["a{n}"]}},{{"mood":["b{n}"]}}]}}"#)).collect();
    let product = format!(r#"{{"country":["se"],"all":[{}]}}"#, product.join(","));
    for (text, path, code) in [
        ("", "", "not_json"),
        ("{", "", "not_json"),
        ("{} {}", "", "not_json"),
        ("\u{feff}{}", "", "not_json"),
        ("[]", "", "wrong_type"),
        ("null", "", "wrong_type"),
        (r#"{"all":[[]]}"#, "all[0]", "wrong_type"),
        (r#"{"not":[]}"#, "not", "wrong_type"),
        (r#"{"age":[[18,34]]}"#, "age[0]", "wrong_type"),
        (r#"{"country":"SE"}"#, "country", "wrong_type"),
        (r#"{"country":["SE"],"country":["NO"]}"#, "", "wrong_type"),
        (r#"{"all":[{"colour":["red"]}]}"#, "all[0].colour", "unknown_field"),
        (r#"{"country":[]}"#, "country", "empty"),
        (r#"{"any":[]}"#, "any", "empty"),
        (r#"{"not":{"any":[]}}"#, "not.any", "empty"),
        (r#"{"key_value":{}}"#, "key_value", "empty"),
        (r#"{"key_value":{"mood":[]}}"#, "key_value.mood", "empty"),
        (r#"{"daypart":{"hours":[]}}"#, "daypart.hours", "empty"),
        (r#"{"daypart":{"hours":[{"days":[],"from":1,"to":2}]}}"#, "daypart.hours[0].days", "empty"),
        (r#"{"daypart":{}}"#, "daypart", "missing"),
        (r#"{"any":[{"country":["SE","Sweden"]}]}"#, "any[0].country[1]", "bad_value"),
        (r#"{"region":["Stockholm"]}"#, "region[0]", "bad_value"),
        (r#"{"gender":["yes"]}"#, "gender[0]", "bad_value"),
        (r#"{"genre":["a\u0000b"]}"#, "genre[0]", "bad_value"),
        (r#"{"key_value":{"":["a"]}}"#, "key_value.", "bad_value"),
        (r#"{"daypart":{"time_zone":"mars","hours":[{"from":1,"to":2}]}}"#, "daypart.time_zone", "bad_value"),
        (r#"{"daypart":{"hours":[{"from":22,"to":2}]}}"#, "daypart.hours[0]", "out_of_range"),
        (r#"{"daypart":{"hours":[{"from":24,"to":25}]}}"#, "daypart.hours[0]", "out_of_range"),
        (r#"{"daypart":{"hours":[{"from":-1,"to":25}]}}"#, "daypart.hours[0].from", "out_of_range"),
        (r#"{"age":[{"from":18},{"from":35,"to":34}]}"#, "age[1]", "out_of_range"),
        (r#"{"age":[{"to":121}]}"#, "age[0]", "out_of_range"),
        (r#"{"age":[{"to":300}]}"#, "age[0].to", "out_of_range"),
        (r#"{"age":[{}]}"#, "age[0]", "missing"),
        (r#"{"os_version":[{}]}"#, "os_version[0]", "missing"),
        (r#"{"os_version":[{"at_least":"twelve"}]}"#, "os_version[0].at_least", "bad_value"),
        (r#"{"app_version":[{"at_least":"2","below":"2.0"}]}"#, "app_version[0]", "out_of_range"),
        (r#"{"within":[{"latitude":90.1,"longitude":0,"radius_m":100}]}"#, "within[0].latitude", "out_of_range"),
        (r#"{"within":[{"latitude":0,"longitude":1e300,"radius_m":100}]}"#, "within[0].longitude", "out_of_range"),
        (r#"{"within":[{"latitude":0,"longitude":0,"radius_m":99}]}"#, "within[0].radius_m", "out_of_range"),
        (r#"{"within":[{"latitude":0,"longitude":0,"radius_m":500001}]}"#, "within[0].radius_m", "out_of_range"),
        (r#"{"within":[{"latitude":0,"longitude":0}]}"#, "within[0]", "missing"),
        (r#"{"country":["SE"],"not":{"country":["SE"]}}"#, "", "contradiction"),
        (r#"{"any":[{"genre":["a"]},{"all":[{"country":["SE"]},{"country":["NO"]}]}]}"#, "any[1]", "contradiction"),
        (r#"{"not":{}}"#, "not", "contradiction"),
        (r#"{"explicit":true,"not":{"explicit":true}}"#, "", "contradiction"),
        (r#"{"all":[{"os_version":[{"at_least":"14"}]},{"os_version":[{"below":"12"}]}]}"#, "", "contradiction"),
        (&many, "country", "too_many"),
        (&product, "", "too_many"),
        (&deep, &"not.".repeat(16)[..63], "too_deep"),
    ] {
        let errors = json(text).expect_err(text);
        assert_eq!((errors[0].path.as_str(), errors[0].code), (path, code), "{text:.200}: {errors:?}");
        assert!(!errors[0].message.is_empty());
    }
    assert_eq!(json(&very_deep).expect_err("too deep")[0].code, "not_json");
}

#[test]
fn all_faults_are_told_at_once_up_to_a_limit() {
    let errors = json(r#"{"country":["Sweden"],"age":[{"to":121}],"any":[{"gender":["x"]}]}"#).expect_err("faults");
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["country[0]", "age[0]", "any[0].gender[0]"]);
    let many = format!(r#"{{"country":[{}"x"]}}"#, r#""x","#.repeat(100));
    assert_eq!(json(&many).expect_err("faults").len(), ERRORS_MAX);
}

#[test]
fn fifty_thousand_segments_fit_and_one_more_does_not() {
    let names = |range: std::ops::Range<usize>| range.map(|n| format!(r#""s{n}""#)).collect::<Vec<_>>().join(",");
    let two = |first: usize| {
        format!(r#"{{"segment":[{}],"not":{{"segment":[{}]}}}}"#, names(0..first), names(100_000..125_000))
    };
    assert!(json(&two(25_000)).is_ok());
    let errors = json(&two(25_001)).expect_err("too many");
    assert_eq!((errors[0].path.as_str(), errors[0].code), ("", "too_many"));
}

#[test]
fn the_schema_is_derived() {
    use utoipa::PartialSchema;
    let schema = serde_json::to_string(&TargetingBody::schema()).expect("JSON");
    assert!(schema.contains("\"country\"") && schema.contains("\"within\""), "{schema}");
}

/// Whatever the bytes: no panic, and what is accepted is written and read back as the same, and can hold. Seen as JSON, and as a few changes of sound JSON.
#[test]
fn fuzz_targeting_syntax() {
    const SOUND: &str = r#"{"country":["SE"],"age":[{"from":18,"to":34}],"any":[{"not":{"genre":["kids"]}},{"all":[{"segment":["a"]},{"explicit":false}]}],"daypart":{"time_zone":"listener","hours":[{"days":["mon"],"from":6,"to":10}]},"within":[{"latitude":59.3,"longitude":18.1,"radius_m":5000}],"os_version":[{"at_least":"12.1","below":"14"}],"key_value":{"mood":["calm"]}}"#;
    let check = |text: &[u8]| {
        if let Ok(expression) = parse_json(text) {
            let written = serde_json::to_vec(&write(&expression)).expect("JSON");
            assert_eq!(parse_json(&written).as_ref(), Ok(&expression));
            assert!(crate::targeting::dnf::normal_form(&expression).is_ok());
        }
    };
    assert!(parse_json(SOUND.as_bytes()).is_ok());
    bolero::check!().for_each(|bytes: &[u8]| {
        check(bytes);
        let mut changed = SOUND.as_bytes().to_vec();
        for place in bytes.chunks_exact(3).take(4) {
            let at = usize::from(u16::from_be_bytes([place[0], place[1]])) % changed.len();
            changed[at] = place[2];
        }
        check(&changed);
    });
}
