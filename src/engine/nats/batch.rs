//! An atomic batch on the wire: several messages of one stream that the server stores all, or none.
//!
//! Every attempt has a batch id of its own. This file does not know what the messages are for, nor what to do about a fault.

use super::{
    core::Core,
    errors::{Fault, Lapse},
    ids::unique_text,
    link::PublishAck,
    names::{BATCH_COMMIT, BATCH_ID, BATCH_SEQUENCE},
    parts::Part,
};

impl Core {
    /// Sends a batch in one round trip: all but the last message without waiting. The answer has the sequence of the last one;
    /// the others have those before it.
    pub(super) async fn publish_batch(&self, parts: &[&Part]) -> Result<PublishAck, Fault> {
        let Some((last, before)) = parts.split_last() else { return Err(Fault::Lapse(Lapse::Away("an empty batch".into()))) };
        if before.is_empty() {
            // One message needs no batch, which spares the server the commit of one.
            return self.link.publish(last.subject.clone(), last.headers.clone(), last.payload.clone()).await;
        }
        let id = unique_text();
        for (i, part) in before.iter().enumerate() {
            let mut headers = part.headers.clone();
            headers.insert(BATCH_ID, &*id);
            headers.insert(BATCH_SEQUENCE, (i + 1).to_string());
            // Whatever happens here, the commit is not sent: the server forgets the batch.
            let sent = self.link.send(part.subject.clone(), None, headers, part.payload.clone()).await;
            sent.map_err(|lapse| match lapse {
                Lapse::Lost(source) => Fault::Lapse(Lapse::Away(source)),
                other => Fault::Lapse(other),
            })?;
        }
        let mut headers = last.headers.clone();
        headers.insert(BATCH_ID, &*id);
        headers.insert(BATCH_SEQUENCE, parts.len().to_string());
        headers.insert(BATCH_COMMIT, "1");
        // A crash on this line leaves a batch that is applied as a whole or not at all.
        self.link.publish(last.subject.clone(), headers, last.payload.clone()).await
    }
}
