//! What a process does: everything, or some of it.

/// The roles of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Roles {
    /// Everything, with its state in its own data directory.
    All,
    /// Some of it, as one of many servers that share event log and state.
    Some(SharedRoles),
}

/// Roles of one of many servers; at least one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SharedRoles {
    /// Decides ad breaks and hears beacons: the two share leases and journals.
    pub decision: bool,
    /// Takes changes of the catalogue, and shows reports.
    pub campaign: bool,
    /// Owns partitions of the money.
    pub accounting: bool,
    /// Makes listeners' taste of what they played.
    pub profile: bool,
    /// Serves creatives' files.
    pub assets: bool,
}

/// Reads the setting.
pub(super) fn read(text: &str) -> Result<Roles, String> {
    if text == "all" {
        return Ok(Roles::All);
    }
    let (mut roles, mut beacon) = (SharedRoles::default(), false);
    for word in text.split(',').map(str::trim) {
        match word {
            "decision" => roles.decision = true,
            "beacon" => beacon = true,
            "campaign" => roles.campaign = true,
            "accounting" => roles.accounting = true,
            "profile" => roles.profile = true,
            "assets" => roles.assets = true,
            "all" => return Err("all stands alone".to_owned()),
            _ => {
                return Err(format!(
                    "{word:?} is no role; expected all, decision, beacon, campaign, accounting, profile or assets"
                ));
            }
        }
    }
    if roles.decision != beacon {
        return Err("decision and beacon go together: they share leases and journals".to_owned());
    }
    Ok(Roles::Some(roles))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_and_what_is_none_is_told() {
        let some = |decision, campaign, accounting| {
            Ok(Roles::Some(SharedRoles { decision, campaign, accounting, ..SharedRoles::default() }))
        };
        assert_eq!(read("all"), Ok(Roles::All));
        assert_eq!(read("decision,beacon"), some(true, false, false));
        assert_eq!(read("accounting"), some(false, false, true));
        assert_eq!(read(" beacon, campaign , decision,accounting"), some(true, true, true));
        assert_eq!(read("profile"), Ok(Roles::Some(SharedRoles { profile: true, ..SharedRoles::default() })));
        assert_eq!(read("assets"), Ok(Roles::Some(SharedRoles { assets: true, ..SharedRoles::default() })));
        for (text, reason) in [
            ("", "\"\" is no role"),
            ("decision", "go together"),
            ("beacon", "go together"),
            ("campaign,all", "stands alone"),
            ("asset", "\"asset\" is no role"),
        ] {
            assert!(read(text).expect_err("refused").contains(reason), "{text}");
        }
    }
}
