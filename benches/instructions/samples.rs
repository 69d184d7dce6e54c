//! What the service sends: machine actions, one or a list of them.

/// Returns an action as the service sends it, with three commands.
pub fn action(at: usize) -> String {
    let command = |index: usize, name: &str, key: &str, value: &str| {
        format!(
            r#"{{"index":{index},"startTime":"2026-03-10T14:37:20.1Z","endTime":"2026-03-10T14:37:31.0021Z","commandStatus":"Completed","errors":[],"command":{{"type":"{name}","params":[{{"key":"{key}","value":"{value}"}}]}}}}"#
        )
    };
    let commands = [
        command(0, "PutFile", "FileName", "helper.exe"),
        command(1, "RunScript", "ScriptName", "triage.ps1"),
        command(2, "GetFile", "Path", r"C:\\Temp\\triage.zip"),
    ];
    format!(
        r#"{{"id":"{}","type":"LiveResponse","title":null,"requestor":"0f3c1d4e-1111-4222-8333-444455556666","requestorComment":"case 42 [mlr:0123456789abcdef]","status":"Succeeded","machineId":"9a0b1c2d3e4f5061728394a5b6c7{at:012x}","computerDnsName":"ws-eng-{at}.example.test","creationDateTimeUtc":"2026-03-10T14:36:51.8759111Z","lastUpdateDateTimeUtc":"2026-03-10T14:36:51.8759111Z","cancellationRequestor":null,"cancellationComment":null,"cancellationDateTimeUtc":null,"errorHResult":0,"scope":null,"externalId":null,"requestSource":"PublicApi","relatedFileInfo":null,"commands":[{}],"troubleshootInfo":null}}"#,
        action_id(at),
        commands.join(",")
    )
}

/// Returns the id of the action.
pub fn action_id(at: usize) -> String {
    format!("6b1d2c1e-93a4-4c1b-8f0e-{at:012x}")
}

/// Returns a list of this many actions.
pub fn list(length: usize) -> String {
    let items: Vec<String> = (0..length).map(action).collect();
    format!(r#"{{"@odata.context":"x","value":[{}]}}"#, items.join(","))
}
