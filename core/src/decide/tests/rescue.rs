//! Where a request goes that has failed.

use super::*;

/// Where a request of `stable` goes, or of `canary`, that failed there.
fn rescued(table: &Snapshot, override_to: &str) -> Option<(&'static str, String)> {
    let asked = shop().with("to", override_to);
    let failed = decided(table, &asked, 1);
    let there = rescue(table, &failed, &asked.view(), 0, &mut Entropy::new(1))?;
    let same = |d: &Decision| (d.taken.route, d.split, d.chosen);
    assert_eq!(same(&there), same(&failed));
    assert!(there.endpoint.is_some() && !there.waits);
    Some((there.reason.as_str(), names(table, &there).1.to_owned()))
}

const TO: &str = "overrides = [{ headers = [{ name = 'to', exact = 'canary' }], pool = 'canary' },
                               { headers = [{ name = 'to', exact = 'empty' }], pool = 'empty' }]";

fn of(split: &str) -> Snapshot {
    table(&format!("weights = {{ stable = 9, canary = 1 }}\n{TO}\n{split}"))
}

#[test]
fn the_first_usable_pool_of_the_fallback_helps() {
    for (split, of_canary) in [
        ("", None),
        ("rescue = true", Some("stable")),
        ("rescue = true\nfallback = ['beta', 'stable']", Some("beta")),
        ("rescue = true\nfallback = ['canary', 'empty', 'stable']", Some("stable")),
        ("rescue = true\nfallback = ['canary', 'empty']", None),
    ] {
        let wanted = of_canary.map(|pool| ("rescue", pool.to_owned()));
        assert_eq!(rescued(&of(split), "canary"), wanted, "{split}");
    }
    assert_eq!(rescued(&of("rescue = true"), ""), None, "the default fallback is the pool that failed");
}

#[test]
fn a_pool_whose_endpoints_are_out_helps_nobody() {
    let table = of("rescue = true\nfallback = ['beta', 'stable']");
    set(&table, "beta", false);
    assert_eq!(rescued(&table, "canary"), Some(("rescue", "stable".into())));
    set(&table, "stable", false);
    assert_eq!(rescued(&table, "canary"), None);
}

#[test]
fn a_pool_that_stood_in_for_another_is_helped_by_a_third() {
    let table = of("rescue = true\nfallback = ['beta', 'stable']");
    assert_eq!(rescued(&table, "empty"), Some(("rescue", "stable".into())));
    set(&table, "stable", false);
    assert_eq!(rescued(&table, "empty"), None, "nobody is asked twice");
}
