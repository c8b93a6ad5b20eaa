//! A kernel and Linux with a tap device between them, and two of Linux with a cable of its own (veth). All in network namespaces of the threads,
//! which takes root.

use crate::{
    ends::{End, Listener, Ours},
    host::CONGESTION,
};
use rump_net_tests::{V4, beside_linux, in_namespace, sh};
use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

/// What is measured between two ends, one of ours and one of Linux's, or two of Linux's.
pub(crate) type Measure = fn(Duration, &dyn End, &dyn End) -> f64;

/// From ours to Linux.
pub(crate) fn out(offload: bool, measure: Measure, time: Duration) -> f64 {
    measured(move |tell| {
        beside_linux(V4, offload, move |_, proc| {
            usual_congestion_control();
            let listener = TcpListener::bind(V4.linux(80)).expect("bind");
            let ours = Ours::connect(proc, V4.linux(80));
            let linux = accept(&listener);
            tell.send(measure(time, &ours, &linux)).expect("heard");
        });
    })
}

/// From Linux to ours.
pub(crate) fn into(offload: bool, measure: Measure, time: Duration) -> f64 {
    measured(move |tell| {
        beside_linux(V4, offload, move |_, proc| {
            usual_congestion_control();
            let listener = Listener::new(proc, V4.kernel(80));
            let linux = TcpStream::connect(V4.kernel(80)).expect("connect");
            linux.set_nodelay(true).expect("option");
            let ours = listener.accept();
            tell.send(measure(time, &linux, &ours)).expect("heard");
        });
    })
}

/// Between two of Linux.
pub(crate) fn veth(measure: Measure, time: Duration) -> f64 {
    measured(move |tell| {
        in_namespace(move || {
            usual_congestion_control();
            sh("ip link add veth0 type veth peer name veth1");
            sh("ip addr add 10.9.1.1/24 dev veth0; ip link set veth0 up");
            let server: SocketAddr = "10.9.1.2:80".parse().expect("an address");
            let (namespace, moved) = (mpsc::channel(), mpsc::channel());
            let (ready, done) = (mpsc::channel(), mpsc::channel());
            thread::scope(|scope| {
                scope.spawn(move || {
                    in_namespace(move || {
                        usual_congestion_control();
                        let thread = std::fs::read_link("/proc/thread-self").expect("proc");
                        let path = format!("/proc/{}/ns/net", thread.display());
                        namespace.0.send(path).expect("heard");
                        moved.1.recv().expect("told");
                        sh("ip addr add 10.9.1.2/24 dev veth1; ip link set veth1 up");
                        let listener = TcpListener::bind(server).expect("bind");
                        ready.0.send(()).expect("heard");
                        done.0.send(accept(&listener)).expect("heard");
                    });
                });
                let path = namespace.1.recv().expect("told");
                sh(&format!("ip link set veth1 netns {path}"));
                moved.0.send(()).expect("heard");
                ready.1.recv().expect("told");
                let one = TcpStream::connect(server).expect("connect");
                one.set_nodelay(true).expect("option");
                let other = done.1.recv().expect("told");
                tell.send(measure(time, &one, &other)).expect("heard");
            });
        });
    })
}

/// As of the host's loopback interface, for all of this namespace.
fn usual_congestion_control() {
    sh(&format!(
        "sysctl -qw net.ipv4.tcp_congestion_control={CONGESTION}"
    ));
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (end, _) = listener.accept().expect("accept");
    end.set_nodelay(true).expect("option");
    end
}

/// What a body that runs in threads of its own has measured.
fn measured(body: impl FnOnce(mpsc::Sender<f64>)) -> f64 {
    let (tell, told) = mpsc::channel();
    body(tell);
    told.recv().expect("measured")
}
