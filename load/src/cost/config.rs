//! Tidegate's file for each case: written here, as what differs is a number and not a line.
//!
//! Everything that a case does not ask for is as in the files of the rows (`load/peers`): one worker, no access log.

use std::fmt::Write;

/// Paths that each host has routes for; requests go to the last.
pub(super) const PATHS: usize = 10;

/// Hosts of the cases with many routes.
pub(super) const HOSTS: usize = 1_000;

/// The other routes of a host: its paths but the one that is asked for.
const OTHERS: usize = PATHS - 1;

/// What can differ between two cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a line of the file, and any may go with any")]
pub(super) struct Setting {
    pub(super) workers: usize,
    pub(super) has_lane: bool,
    /// Each has [`PATHS`] routes, beside the one route for all requests.
    pub(super) hosts: usize,
    /// Whether routes lead to the split and not to the pool.
    pub(super) is_split: bool,
    pub(super) is_logged: bool,
    /// Of a pool that gets no request.
    pub(super) endpoints: usize,
    /// Another file of the same size: one route of each host has another path.
    pub(super) is_other: bool,
}

impl Setting {
    /// One route to one pool.
    pub(super) const PLAIN: Self = Self {
        workers: 1,
        has_lane: true,
        hosts: 0,
        is_split: false,
        is_logged: false,
        endpoints: 0,
        is_other: false,
    };

    /// The file, with places to fill in.
    pub(super) fn text(&self) -> String {
        let access = if self.is_logged { "on" } else { "off" };
        let mut text = format!(
            "[server]\nworkers = {}\nexpress = {}\n\n\
             [[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:@PLAIN@\"\n\n\
             [log]\nlevel = \"warn\"\naccess = \"{access}\"\noutput = \"@FOLDER@/access.log\"\n\n\
             [admin]\naddress = \"127.0.0.1:@ADMIN@\"\n\n\
             [pools.stable]\nendpoints = [\"127.0.0.1:@STABLE@\"]\n",
            self.workers, self.has_lane
        );
        if self.is_split {
            text.push_str(
                "\n[pools.canary]\nendpoints = [\"127.0.0.1:@CANARY@\"]\n\n\
                 [splits.shop]\nweights = { stable = 90, canary = 10 }\nkey = [\"header:x-user-id\"]\n",
            );
        }
        if self.endpoints > 0 {
            let all: Vec<String> = (0..self.endpoints).map(|at| format!("\"{}\"", endpoint(at))).collect();
            // Writing to a string cannot fail.
            let _ = write!(text, "\n[pools.many]\nendpoints = [{}]\n", all.join(", "));
        }
        let target = if self.is_split { "split = \"shop\"" } else { "pool = \"stable\"" };
        let _ = write!(text, "\n[[routes]]\nname = \"all\"\n{target}\n");
        for host in 0..self.hosts {
            for path in 0..PATHS {
                self.route(&mut text, host, path, target);
            }
        }
        text
    }

    fn route(&self, text: &mut String, host: usize, path: usize, target: &str) {
        let prefix = match path {
            OTHERS => "small".to_owned(),
            0 if self.is_other => "other".to_owned(),
            _ => format!("p{path}"),
        };
        let _ = write!(
            text,
            "\n[[routes]]\nname = \"s{host:04}-{path}\"\nhosts = [\"s{host:04}.shop.test\"]\n\
             matches = [{{ path = {{ prefix = \"/{prefix}\" }} }}]\n{target}\n"
        );
    }
}

/// An address of the loopback network for each, none of which is asked for anything.
fn endpoint(at: usize) -> String {
    format!("127.1.{}.{}:9000", at / 250, at % 250 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_what_its_case_asks_for() {
        let plain = Setting::PLAIN;
        for (setting, has, lacks) in [
            (plain, vec!["express = true", "workers = 1", "access = \"off\"", "pool = \"stable\""], "splits"),
            (Setting { has_lane: false, ..plain }, vec!["express = false"], "many"),
            (Setting { workers: 3, ..plain }, vec!["workers = 3"], "canary"),
            (Setting { is_logged: true, ..plain }, vec!["access = \"on\""], "splits"),
            (
                Setting { is_split: true, ..plain },
                vec!["split = \"shop\"", "key = [\"header:x-user-id\"]"],
                "pool = ",
            ),
            (Setting { endpoints: 251, ..plain }, vec!["127.1.0.1:9000", "127.1.1.1:9000"], "splits"),
        ] {
            let text = setting.text();
            for part in has {
                assert!(text.contains(part), "{part}\n{text}");
            }
            assert!(!text.contains(lacks), "{lacks}\n{text}");
        }
    }

    #[test]
    fn many_routes_are_as_many_as_are_told_and_the_other_file_differs_by_one_of_each_host() {
        let many = Setting { hosts: 20, ..Setting::PLAIN };
        let (one, other) = (many.text(), Setting { is_other: true, ..many }.text());
        assert_eq!(one.matches("[[routes]]").count(), 1 + 20 * PATHS);
        assert_eq!(one.matches("prefix = \"/small\"").count(), 20);
        let differ = one.lines().zip(other.lines()).filter(|(one, other)| one != other);
        assert_eq!(differ.count(), 20);
        assert_eq!(one.lines().count(), other.lines().count());
    }

    #[test]
    fn no_two_endpoints_are_alike() {
        let all: std::collections::BTreeSet<String> = (0..10_000).map(endpoint).collect();
        assert_eq!(all.len(), 10_000);
        assert!(all.iter().all(|text| text.parse::<std::net::SocketAddr>().is_ok()));
    }
}
