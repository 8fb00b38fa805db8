//! Targeting expressions.

use super::codes::Code;
use super::proto;
use super::proto::predicate::Kind;
use super::read::{Read, degrees, each, invalid, narrow, required};
use crate::events::{EventError, catalog::MAX_EXPRESSION_DEPTH};
use crate::targeting::{
    AgeRange, Attribute, Circle, DaypartZone, Expression, Predicate, Version, VersionOf, VersionRange, WeekHours,
};

/// The expression on the wire.
///
/// # Panics
/// When it is nested deeper than [`MAX_EXPRESSION_DEPTH`]: it could be written and never read again.
pub(super) fn to_wire(expression: &Expression) -> proto::Expression {
    write(expression, MAX_EXPRESSION_DEPTH)
}

fn write(expression: &Expression, levels_left: usize) -> proto::Expression {
    let deeper = levels_left.checked_sub(1).expect("an expression's depth is limited where it enters");
    let (operator, parts, predicate) = match expression {
        Expression::All(parts) => (proto::Operator::All, parts.as_slice(), None),
        Expression::Any(parts) => (proto::Operator::Any, parts.as_slice(), None),
        Expression::Not(part) => (proto::Operator::Not, std::slice::from_ref(&**part), None),
        Expression::Is(predicate) => (proto::Operator::Is, &[][..], Some(predicate_to_wire(predicate))),
    };
    proto::Expression {
        operator: operator as i32,
        parts: parts.iter().map(|part| write(part, deeper)).collect(),
        predicate,
    }
}

/// The expression of the wire.
pub(super) fn from_wire(wire: proto::Expression) -> Read<Expression> {
    read(wire, MAX_EXPRESSION_DEPTH)
}

fn read(wire: proto::Expression, levels_left: usize) -> Read<Expression> {
    const FIELD: &str = "expression.operator";
    const PARTS: &str = "expression.parts";
    let deeper = levels_left.checked_sub(1).ok_or(invalid(PARTS, "nested too deeply"))?;
    match proto::Operator::try_from(wire.operator) {
        Ok(proto::Operator::All) => each(wire.parts, |part| read(part, deeper)).map(Expression::All),
        Ok(proto::Operator::Any) => each(wire.parts, |part| read(part, deeper)).map(Expression::Any),
        Ok(proto::Operator::Not) => {
            let [part] = <[proto::Expression; 1]>::try_from(wire.parts)
                .map_err(|_| invalid(PARTS, "expected exactly one part of NOT"))?;
            Ok(Expression::Not(Box::new(read(part, deeper)?)))
        }
        Ok(proto::Operator::Is) => {
            predicate_from_wire(required("expression.predicate", wire.predicate)?).map(Expression::Is)
        }
        Ok(proto::Operator::Unspecified) => Err(EventError::Missing { field: FIELD }),
        Err(_) => Err(EventError::UnknownKind { field: FIELD }),
    }
}

fn predicate_to_wire(predicate: &Predicate) -> proto::Predicate {
    let kind = match predicate {
        Predicate::Has { attribute, any_of } => {
            Kind::Has(proto::AttributePredicate { attribute: attribute.code(), any_of: any_of.clone() })
        }
        Predicate::Age { any_of } => Kind::Age(proto::AgePredicate {
            any_of: any_of
                .iter()
                .map(|range| proto::AgeRange { from: u32::from(range.from), to: u32::from(range.to) })
                .collect(),
        }),
        Predicate::Explicit(explicit) => Kind::Explicit(*explicit),
        Predicate::KeyValue { key, any_of } => {
            Kind::KeyValue(proto::KeyValuePredicate { key: key.clone(), any_of: any_of.clone() })
        }
        Predicate::Daypart { zone, hours } => {
            Kind::Daypart(proto::DaypartPredicate { zone: zone.code(), hours: hours.iter().map(u32::from).collect() })
        }
        Predicate::Within { any_of } => Kind::Within(proto::GeoPredicate {
            any_of: any_of
                .iter()
                .map(|circle| proto::Circle {
                    latitude: circle.latitude,
                    longitude: circle.longitude,
                    radius_m: circle.radius_m,
                })
                .collect(),
        }),
        Predicate::Version { of, any_of } => Kind::Version(proto::VersionPredicate {
            of: of.code(),
            any_of: any_of
                .iter()
                .map(|range| proto::VersionRange {
                    at_least: range.at_least.map(version_to_wire),
                    below: range.below.map(version_to_wire),
                })
                .collect(),
        }),
    };
    proto::Predicate { kind: Some(kind) }
}

fn predicate_from_wire(wire: proto::Predicate) -> Read<Predicate> {
    // A kind that this version does not know reads as none: the predicate would lose its meaning, so it is an error.
    let kind = wire.kind.ok_or(EventError::UnknownKind { field: "predicate.kind" })?;
    Ok(match kind {
        Kind::Has(has) => {
            Predicate::Has { attribute: Attribute::of("predicate.has.attribute", has.attribute)?, any_of: has.any_of }
        }
        Kind::Age(age) => Predicate::Age {
            any_of: each(age.any_of, |range| {
                Ok(AgeRange {
                    from: narrow("predicate.age.from", range.from)?,
                    to: narrow("predicate.age.to", range.to)?,
                })
            })?,
        },
        Kind::Explicit(explicit) => Predicate::Explicit(explicit),
        Kind::KeyValue(key_value) => Predicate::KeyValue { key: key_value.key, any_of: key_value.any_of },
        Kind::Daypart(daypart) => Predicate::Daypart {
            zone: DaypartZone::of("predicate.daypart.zone", daypart.zone)?,
            hours: hours(daypart.hours)?,
        },
        Kind::Within(geo) => Predicate::Within {
            any_of: each(geo.any_of, |circle| {
                Ok(Circle {
                    latitude: degrees("predicate.within.latitude", circle.latitude, 90.0)?,
                    longitude: degrees("predicate.within.longitude", circle.longitude, 180.0)?,
                    radius_m: circle.radius_m,
                })
            })?,
        },
        Kind::Version(version) => Predicate::Version {
            of: VersionOf::of("predicate.version.of", version.of)?,
            any_of: each(version.any_of, |range| {
                Ok(VersionRange {
                    at_least: range.at_least.as_ref().map(version_from_wire).transpose()?,
                    below: range.below.as_ref().map(version_from_wire).transpose()?,
                })
            })?,
        },
    })
}

fn hours(list: Vec<u32>) -> Read<WeekHours> {
    const FIELD: &str = "predicate.daypart.hours";
    let mut hours = WeekHours::none();
    for hour in list {
        let hour: u8 = narrow(FIELD, hour)?;
        if hour >= WeekHours::COUNT {
            return Err(invalid(FIELD, "expected hours of the week, 0 to 167"));
        }
        hours.insert(hour);
    }
    Ok(hours)
}

fn version_to_wire(version: Version) -> proto::Version {
    proto::Version { numbers: version.0.to_vec() }
}

fn version_from_wire(wire: &proto::Version) -> Read<Version> {
    let mut numbers = [0; 4];
    numbers
        .get_mut(..wire.numbers.len())
        .ok_or(invalid("version.numbers", "expected at most 4 numbers"))?
        .copy_from_slice(&wire.numbers);
    Ok(Version(numbers))
}
