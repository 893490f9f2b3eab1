//! `tidegate demo`, as the README tells people to try it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
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
fn a_canary_that_breaks_is_stopped_by_the_guard() {
    let mut demo = tidegate(&["demo", "--duration", "60s", "--admin-port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines =
        BufReader::new(demo.stdout.take().expect("piped")).lines().map(|line| line.expect("text"));
    let admin = lines.find_map(|line| line.trim().strip_prefix("admin  ").map(str::to_owned));
    let admin = admin.expect("it says where the admin API is");
    let start = lines.find(|line| line.contains(" rollout start shop --watch ")).expect("a command to try");
    assert!(start.contains(&format!("--admin {admin}")), "{start}");
    let curl = lines.find(|line| line.contains("/break?rate=0.2")).expect("a command to try");
    let (canary, path) = curl.split_once("http://").expect("a URL").1.split_once('/').expect("a path");
    let path = path.split('\'').next().expect("its end");
    lines.find(|line| line.contains("stable ") && line.contains(" asked ")).expect("traffic");

    let rollout = |words: &[&str]| {
        let words = [&["rollout"], words, &["shop", "--admin", &admin, "--text"]].concat();
        run(&mut tidegate(&words))
    };
    let started = rollout(&["start"]);
    assert!(
        started.out.contains("is running, step 1 of 4, canary at 5.0 %"),
        "{}{}",
        started.out,
        started.err
    );
    let mut stream = TcpStream::connect(canary).expect("the canary listens");
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: canary\r\nconnection: close\r\n\r\n").expect("sent");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("answered");
    assert!(said.ends_with("20.0 % of canary's answers fail from now on\n"), "{said}");
    let watched = rollout(&["watch"]);
    assert_eq!(watched.code, 1, "{}{}", watched.out, watched.err);
    assert!(watched.err.contains("was aborted by guard: the candidate"), "{}", watched.err);
    let status = rollout(&["status"]);
    assert!(status.out.contains("canary's last failures"), "{}", status.out);
    let line = lines.find(|line| line.contains("rollout aborted by guard")).expect("the table tells it, too");
    assert!(line.contains("s  canary ") && line.contains("asked    0.0 %"), "{line}");
    demo.kill().expect("it runs");
    demo.wait().expect("it ends");
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
