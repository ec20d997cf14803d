// How figures and names are written: as `flexopt watch` does in a terminal.

// Names and messages are others' text. What is no visible character, such as a mark that turns the
// direction of what follows, is shown as an escape.
export function visible(text) {
  const line = String(text).split(/\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/)
    .map((part) => part.trim()).filter(Boolean).join(" ");
  return line.replace(/[\p{C}\p{Z}]/gu, (char) => {
    if (char === " ") return char;
    const code = char.codePointAt(0).toString(16);
    if (code.length <= 2) return `\\x${code.padStart(2, "0")}`;
    return code.length <= 4 ? `\\u${code.padStart(4, "0")}` : `\\U${code.padStart(8, "0")}`;
  });
}

export function percent(value) {
  return value === null ? "" : `${value.toFixed(1)} %`;
}

export function count(value) {
  return value.toLocaleString("en-US");
}

export function counted(value, noun, plural = `${noun}s`) {
  return `${count(value)} ${value === 1 ? noun : plural}`;
}

// 0:07, 1:02:03 or, from two days on, 5 d.
export function duration(seconds) {
  if (seconds >= 2 * 86400) return `${Math.round(seconds / 86400)} d`;
  const whole = Math.round(seconds);
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

export function age(seconds) {
  const since = Math.max(0, seconds);
  for (const [limit, unit, name] of [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"]]) {
    if (Math.round(since / unit) * unit < limit) return `${Math.round(since / unit)} ${name}`;
  }
  return `${Math.round(since / 86400)} d`;
}

export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  for (const unit of ["kB", "MB", "GB"]) {
    bytes /= 1000;
    if (Math.round(bytes * 10) / 10 < 1000) return `${bytes.toFixed(1)} ${unit}`;
  }
  return `${(bytes / 1000).toFixed(1)} TB`;
}

export function rate(value) {
  if (value === null) return "";
  return `${value >= 100 ? count(Math.round(value)) : Number(value.toPrecision(3))}/s`;
}

export function clock(seconds, withSeconds = false) {
  const options = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (withSeconds) options.second = "2-digit";
  return new Date(seconds * 1000).toLocaleTimeString("en-GB", options);
}

// The batch system's job: 1200_17 in an array (1200[17] of PBS), 1217 else, and its restarts.
export function job(facts) {
  if (!facts || facts.job_id === null) return "";
  const hasIndex = facts.job_id.includes("[");
  const inArray = facts.array_job_id !== null && facts.array_index !== null && !hasIndex;
  const name = inArray ? `${facts.array_job_id}_${facts.array_index}` : facts.job_id;
  return facts.restart_count ? `${name} (restart ${facts.restart_count})` : name;
}

// What is wrong, or what is being done.
export function what(record, now) {
  if (record.status === "stalled" && record.updated !== null) {
    return `no update for ${duration(now - record.updated)}`;
  }
  return record.reason || record.message || record.current_task || "";
}
