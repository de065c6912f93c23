//! Asking a DNS server one question, as a program on a node would.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::sys;

const ID: [u8; 2] = [0x5a, 0x17];

/// Asks the server for the IPv4 address of a name, from within the network of a process.
pub fn lookup(pid: u32, server: Ipv4Addr, name: &str) -> io::Result<Option<Ipv4Addr>> {
    let question = question(name);
    // Only this thread moves into the node's network.
    let asking = thread::spawn(move || {
        sys::enter_network(pid)?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        socket.send_to(&question, SocketAddr::from((server, 53)))?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        io::Result::Ok(answer[..length].to_vec())
    });
    let answer = asking.join().map_err(|_| io::Error::other("the question was not asked"))??;
    Ok(address(&answer))
}

fn question(name: &str) -> Vec<u8> {
    let mut packet = ID.to_vec();
    // Recursion desired; one question, nothing else.
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(u8::try_from(label.len()).unwrap_or(63).min(63));
        packet.extend(label.bytes().take(63));
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

/// The address at the end of an answer with exactly one address record.
fn address(answer: &[u8]) -> Option<Ipv4Addr> {
    let is_ours = answer.starts_with(&ID);
    let no_error = answer.get(3)? % 16 == 0;
    let one_record = answer.get(6..8)? == [0, 1] && answer.get(8..12)? == [0, 0, 0, 0];
    let bytes: [u8; 4] = answer.last_chunk().copied()?;
    (is_ours && no_error && one_record).then(|| Ipv4Addr::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_the_labels_of_the_name() {
        let packet = question("kubernetes.default");
        assert_eq!(&packet[12..], b"\x0akubernetes\x07default\x00\x00\x01\x00\x01");
    }

    #[test]
    fn only_an_answer_with_an_address_counts() {
        let mut answer = question("a");
        answer[2] = 0x84;
        answer[7] = 1;
        answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x0a\x16\x00\x01");
        assert_eq!(address(&answer), Some(Ipv4Addr::new(10, 22, 0, 1)));
        answer[3] = 3;
        assert_eq!(address(&answer), None, "no such name");
        assert_eq!(address(b"x"), None);
    }
}
