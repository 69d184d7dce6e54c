# Prints one line of JSON: whether the file of the case is on this machine.
$path = "$env:ProgramData\case-42\loader.dll"
[pscustomobject]@{ path = $path; found = Test-Path -LiteralPath $path } | ConvertTo-Json -Compress
