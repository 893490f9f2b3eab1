//! `tidegate demo`, as the README tells people to try it.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::Stdio;

use crate::{run, tidegate};

#[test]
fn a_shift_is_on_the_next_lines_and_nothing_is_lost() {
    let mut demo = tidegate(&["demo", "--duration", "6s", "--admin-port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines =
        BufReader::new(demo.stdout.take().expect("piped")).lines().map(|line| line.expect("text"));
    let admin = lines.find_map(|line| line.trim().strip_prefix("admin  ").map(str::to_owned));
    let admin = admin.expect("it says where the admin API is");
    let shift = lines.find(|line| line.contains(" shift shop ")).expect("the first command to try");
    // Not the usual address, so the commands name it.
    assert!(shift.contains(&format!("--admin {admin}")), "{shift}");
    let line = lines.find(|line| line.contains("stable ") && line.contains(" asked ")).expect("a line");
    assert!(line.contains("asked   95.0 %"), "{line}");

    let shifted = run(&mut tidegate(&["shift", "shop", "stable=0", "canary=1", "--admin", &admin, "--text"]));
    assert_eq!(shifted.code, 0, "{}", shifted.err);
    assert!(shifted.out.contains("canary       5  →  1   5.0 %  →  100.0 %"), "{}", shifted.out);
    let after: Vec<String> = lines.collect();
    let canary: Vec<&String> = after.iter().filter(|line| line.contains("s  canary ")).collect();
    assert!(canary.iter().skip(1).all(|line| line.contains("asked  100.0 %")), "{after:?}");
    assert!(canary.iter().skip(2).all(|line| line.contains("seen  100.0 %")), "{after:?}");
    assert!(after.iter().any(|line| line.ends_with("requests, no response was lost, 0 errors")), "{after:?}");
    assert_eq!(demo.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_taken_admin_port_is_refused_with_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let ran = run(&mut tidegate(&["demo", "--duration", "1s", "--admin-port", &port.to_string()]));
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(
        ran.err.contains(&format!("127.0.0.1:{port}")) && ran.err.contains("--admin-port"),
        "{}",
        ran.err
    );
}
