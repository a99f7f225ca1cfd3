//! The reference: mysql_async's own decoding of the same binlog, every value of every row, and nothing else.

use futures_util::StreamExt;
use mysql_async::binlog::events::EventData;
use mysql_async::{BinlogStreamRequest, Conn};

use super::process::{Stopwatch, Used};
use super::support::servers::Server;
use super::workload::Load;

/// Decodes a load. What it took.
pub fn decode(server: &Server, load: &Load) -> Used {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stopwatch = Stopwatch::start();
        let conn = Conn::new(server.opts()).await.expect("a connection");
        let request = BinlogStreamRequest::new(4_000_000_001)
            .with_filename(load.file.as_bytes())
            .with_pos(4_u64)
            .with_non_blocking();
        let mut stream = conn.get_binlog_stream(request).await.expect("a binlog stream");
        let mut rows = 0;
        while rows < load.rows {
            let event = stream.next().await.expect("the load is in the binlog").expect("an event");
            if let Some(EventData::RowsEvent(event)) = event.read_data().expect("a readable event") {
                let table = stream.get_tme(event.table_id()).expect("a table map comes before its rows");
                if table.database_name() == load.database && table.table_name() == load.table {
                    for row in event.rows(table) {
                        std::hint::black_box(row.expect("a readable row"));
                        rows += 1;
                    }
                }
            }
        }
        let used = stopwatch.used();
        let _ = stream.close().await;
        used
    })
}
