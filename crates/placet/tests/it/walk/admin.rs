//! The admin socket: it is its owner's alone, takes no page's calls, and nothing of it is at any door.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;

use super::{Table, compare, table};
use crate::harness::Placet;

/// `user` is another user of this machine, `page` a call that names an origin. `agent` and `reviewer` try the same paths
/// at their own doors, with everything that opens these. Who reaches the socket as its owner gets what the other modules
/// test.
pub(super) const TABLE: &str = "
                                               user page agent reviewer
GET    /admin/v1/status                        0    403  404   404
GET    /admin/v1/people                        0    403  404   404
POST   /admin/v1/people                        0    403  404   404
POST   /admin/v1/people/{who}/invite           0    403  404   404
POST   /admin/v1/people/{who}/disable          0    403  404   404
POST   /admin/v1/people/{who}/erase            0    403  404   404
GET    /admin/v1/people/{who}/tokens           0    403  404   404
POST   /admin/v1/people/{who}/tokens           0    403  404   404
DELETE /admin/v1/tokens/{id}                   0    403  404   404
POST   /admin/v1/login                         0    403  404   404
GET    /admin/v1/agents                        0    403  404   404
POST   /admin/v1/agents                        0    403  404   404
POST   /admin/v1/agents/{which}/revoke         0    403  404   404
POST   /admin/v1/agents/{which}/erase          0    403  404   404
POST   /admin/v1/agents/{which}/rotate         0    403  404   404
GET    /admin/v1/groups                        0    403  404   404
PUT    /admin/v1/groups/{name}                 0    403  404   404
DELETE /admin/v1/groups/{name}                 0    403  404   404
PUT    /admin/v1/groups/{name}/members/{who}   0    403  404   404
DELETE /admin/v1/groups/{name}/members/{who}   0    403  404   404
GET    /admin/v1/secrets                       0    403  404   404
PUT    /admin/v1/secrets/{name}                0    403  404   404
DELETE /admin/v1/secrets/{name}                0    403  404   404
GET    /admin/v1/policy                        0    403  404   404
GET    /admin/v1/policy/history                0    403  404   404
GET    /admin/v1/requests/{id}/explanation     0    403  404   404
POST   /admin/v1/policy/stage                  0    403  404   404
POST   /admin/v1/policy/activate               0    403  404   404
GET    /admin/v1/requests                      0    403  404   404
GET    /admin/v1/audit/entries                 0    403  404   404
GET    /admin/v1/audit/requests                0    403  404   404
GET    /admin/v1/audit/requests/{id}           0    403  404   404
GET    /admin/v1/audit/requests/{id}/evidence  0    403  404   404
GET    /admin/v1/audit/log                     0    403  404   404
GET    /admin/v1/audit/index                   0    403  404   404
POST   /admin/v1/audit/index                   0    403  404   404
POST   /admin/v1/audit/recordings/{id}         0    403  404   404
POST   /admin/v1/audit/bundles/{id}            0    403  404   404
POST   /admin/v1/audit/checkpoint              0    403  404   404
GET    /admin/v1/peps                          0    403  404   404
POST   /admin/v1/peps                          0    403  404   404
POST   /admin/v1/peps/{which}/revoke           0    403  404   404
POST   /admin/v1/peps/{which}/rotate           0    403  404   404
GET    /admin/v1/backup                        0    403  404   404
POST   /admin/v1/backup                        0    403  404   404
GET    /admin/v1/mcp                           0    403  404   404
GET    /admin/v1/mcp/logins                    0    403  404   404
POST   /admin/v1/mcp/{server}/login            0    403  404   404
PUT    /admin/v1/mcp/{server}/login            0    403  404   404
GET    /metrics                                0    403  404   404
";

/// The status that the socket gives to a call with these headers.
fn at_socket(placet: &Placet, method: &str, path: &str, headers: &str) -> u16 {
    let mut socket = UnixStream::connect(&placet.ready.admin).unwrap();
    let call = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n"
    );
    socket.write_all(call.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The same as another user of this machine: zero, if the kernel does not even let them connect. Only root can try.
fn as_another_user(placet: &Placet) -> u16 {
    let connect = "import socket, sys\ntry: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n\
                   except PermissionError: sys.exit(13)";
    let mut python = Command::new("python3");
    python.args(["-c", connect]).arg(&placet.ready.admin);
    if nix::unistd::geteuid().is_root() {
        use std::os::unix::process::CommandExt as _;
        python.uid(65534).gid(65534);
        // The directory above is the test's own, which others may not enter either; the socket is judged by itself.
        let open = std::os::unix::fs::PermissionsExt::from_mode;
        for directory in [placet.space().to_owned(), placet.data()] {
            std::fs::set_permissions(directory, open(0o711)).unwrap();
        }
        let refused = python.status().unwrap().code() == Some(13);
        std::fs::set_permissions(placet.data(), open(0o700)).unwrap();
        return if refused { 0 } else { 200 };
    }
    0
}

#[test]
fn everybody_but_its_owner_at_every_operation_of_the_admin_socket() {
    let placet = Placet::start();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let user = as_another_user(&placet);
    let expected = table(TABLE);
    let mut got = Table::new();
    for (operation, _) in &expected {
        let (method, pattern) = operation.split_once(' ').unwrap();
        let path = pattern
            .replace("{who}", "Ada")
            .replace("{which}", "first-agent")
            .replace("{name}", "reviewers")
            .replace("{id}", "req_01m83h9wvhfak8x9dj99qvte71");
        let method_of = |name: &str| reqwest::Method::from_bytes(name.as_bytes()).unwrap();
        let statuses = BTreeMap::from([
            ("user".to_owned(), user),
            ("page".to_owned(), at_socket(&placet, method, &path, "origin: http://localhost\r\n")),
            ("agent".to_owned(), placet.agents().send(method_of(method), &path, Vec::new()).status),
            ("reviewer".to_owned(), ada.door.send(method_of(method), &path, Vec::new()).status),
        ]);
        got.push((operation.clone(), statuses));
    }
    compare(&expected, &got);
    // Nothing of it happened.
    assert_eq!(at_socket(&placet, "GET", "/admin/v1/people", ""), 200);
    assert!(placet.cli(["person", "ls"]).succeeds().contains("active"));
    assert!(placet.cli(["agent", "ls"]).succeeds().contains("first-agent"));
}
