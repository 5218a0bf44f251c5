//! The oracle: runs one function of the fixture `known` under dhat-rs and prints what dhat counted.
//!
//! `dhat-oracle NAME` prints `alloc_objects`, `alloc_space`, `peak_space`, `inuse_objects` and `inuse_space`.

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() {
    let name = std::env::args().nth(1).expect("usage: dhat-oracle NAME");
    let (_, function) = known::ALL.iter().find(|(known, _)| *known == name).expect("a function of the fixture");
    // Its buffer is made on first use, and belongs to no function.
    drop(std::io::stdout());
    // A test runs on a thread of its own, and the first thread's first questions to std are its harness's.
    let stats = std::thread::spawn(move || {
        let _profiler = dhat::Profiler::builder().testing().build();
        function();
        dhat::HeapStats::get()
    });
    let stats = stats.join().expect("the functions do not fail");
    // On a line of its own behind what the function printed.
    println!(
        "\n{} {} {} {} {}",
        stats.total_blocks, stats.total_bytes, stats.max_bytes, stats.curr_blocks, stats.curr_bytes
    );
}
