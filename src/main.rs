//! Arguments in, exit code out.

fn main() -> std::process::ExitCode {
    cacheproof::cli::main()
}
