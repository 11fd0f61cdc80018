use std::{path::Path, time::Instant};
use weir_agent::datapath::*;
fn main() {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _g = rt.enter();
    let n: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(20);
    let cg = "/sys/fs/cgroup/unified/weir-steer-cost";
    std::fs::create_dir_all(cg).unwrap();
    let bpffs = Path::new("/sys/fs/bpf/weir-steer-cost");
    let t = Instant::now();
    let (mut d, _e) =
        Datapath::open(Options { cgroup: cg.into(), bpffs: bpffs.into(), congestion: None, log: false })
            .unwrap();
    println!("open {:?}", t.elapsed());
    let mut ns = vec![];
    for i in 0..n {
        let name = format!("sc{i}");
        std::process::Command::new("ip").args(["netns", "add", &name]).status().unwrap();
        ns.push(netns::Netns::open(Path::new(&format!("/run/netns/{name}"))).unwrap());
    }
    for round in 0..2 {
        let t = Instant::now();
        for x in &ns {
            d.steer(x).unwrap();
        }
        println!("round {round}: {:?} each", t.elapsed() / n as u32);
    }
    for i in 0..n {
        std::process::Command::new("ip").args(["netns", "del", &format!("sc{i}")]).status().unwrap();
    }
    drop(d);
    uninstall::uninstall(bpffs).unwrap();
    std::fs::remove_dir(cg).unwrap();
}
