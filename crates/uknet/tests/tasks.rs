//! Many connections of tasks on one thread.

use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
};
use uknet::{
    Interface, Net,
    tokio::{TcpListener, TcpStream, UdpSocket},
};

async fn echo(listener: TcpListener) {
    let mut tasks = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tasks.spawn(async move {
            let mut buf = vec![0; 10_000];
            loop {
                match stream.read(&mut buf).await.unwrap() {
                    0 => break,
                    count => stream.write_all(&buf[..count]).await.unwrap(),
                }
            }
            stream.shutdown().await.unwrap();
        });
    }
}

async fn client(net: Net, to: SocketAddr, n: u8) {
    let stream = TcpStream::connect(&net, to).await.unwrap();
    let data = vec![n; 300_000];
    let (mut reader, mut writer) = tokio::io::split(stream);
    let send = async {
        writer.write_all(&data).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (_, count) = tokio::join!(send, reader.read_to_end(&mut back));
    count.unwrap();
    assert!(back == data);
}

async fn many(server: Net, at: SocketAddr, net: Net) {
    let listener = TcpListener::bind(&server, at).unwrap();
    let to = listener.local_addr().unwrap();
    let serving = tokio::spawn(echo(listener));
    let mut clients = JoinSet::new();
    for n in 0..100 {
        clients.spawn(client(net.clone(), to, n));
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    serving.abort();
}

#[tokio::test]
async fn a_hundred_connections_between_two_stacks() {
    let (one, two) = uknet::cable();
    let host = |device, address: &str| {
        let interface = Interface::device("wire0", device).address(address.parse().unwrap());
        Net::builder().interface(interface).boot().unwrap()
    };
    let (server, net) = (host(one, "10.0.0.1/24"), host(two, "10.0.0.2/24"));
    many(server.clone(), "10.0.0.1:7".parse().unwrap(), net.clone()).await;
    let refused = TcpStream::connect(&net, "10.0.0.1:9".parse().unwrap()).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    let udp = UdpSocket::bind(&server, "0.0.0.0:9".parse().unwrap()).unwrap();
    let mut buf = [0; 10];
    let late = tokio::time::timeout(Duration::from_millis(20), udp.recv_from(&mut buf));
    assert!(late.await.is_err());
    let other = UdpSocket::bind(&net, "0.0.0.0:0".parse().unwrap()).unwrap();
    let send = other.send_to(b"hello", "10.0.0.1:9".parse().unwrap());
    let (received, sent) = tokio::join!(udp.recv_from(&mut buf), send);
    assert_eq!((received.unwrap().0, sent.unwrap()), (5, 5));
}

#[tokio::test]
async fn a_hundred_connections_over_the_hosts_sockets() {
    let net = Net::host().unwrap();
    many(net.clone(), "127.0.0.1:0".parse().unwrap(), net).await;
}
