// The little of Markdown that answers use, made into elements: what they say becomes text, never HTML.
import { element } from '/shared/ui.js';

/** The elements of a text, which may end in the middle of anything. */
export function markdown(text) {
  const blocks = [];
  const lines = text.split('\n');
  while (lines.length) {
    const line = lines.shift();
    const [, fence] = /^```(\w*)$/.exec(line) ?? [];
    const [, marks, title] = /^(#{1,3}) (.*)$/.exec(line) ?? [];
    if (fence !== undefined) blocks.push(code(lines, fence));
    else if (title) blocks.push(element('h' + (marks.length + 2), {}, ...inline(title)));
    else if (quoted.test(line)) blocks.push(quote(line, lines));
    else if (bullet.test(line)) blocks.push(list('ul', bullet, line, lines));
    else if (number.test(line)) blocks.push(list('ol', number, line, lines));
    else if (line.trim()) blocks.push(element('p', {}, ...inline(paragraph(line, lines))));
  }
  return blocks;
}

const quoted = /^> ?/;
const bullet = /^- /;
const number = /^\d+\. /;

/** The lines of a block of code: to the fence that ends it, or to the end where that has not come. */
function code(lines, language) {
  const end = lines.indexOf('```');
  const body = lines.splice(0, end < 0 ? lines.length : end + 1);
  if (end >= 0) body.pop();
  return element('pre', { className: language }, element('code', {}, body.join('\n')));
}

function quote(line, lines) {
  const made = element('blockquote', {}, ...inline(line.replace(quoted, '')));
  while (quoted.test(lines[0] ?? '')) made.append(element('br'), ...inline(lines.shift().replace(quoted, '')));
  return made;
}

function list(tag, mark, line, lines) {
  const made = element(tag, {});
  for (let item = line; item !== undefined; item = mark.test(lines[0] ?? '') ? lines.shift() : undefined)
    made.append(element('li', {}, ...inline(paragraph(item.replace(mark, ''), lines))));
  return made;
}

/** A line and those that go on with it. */
function paragraph(line, lines) {
  while (lines[0]?.trim() && !/^(```|#{1,3} |> ?|- |\d+\. )/.test(lines[0])) line += ' ' + lines.shift().trim();
  return line;
}

/** The words of a line, some of them marked. */
function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*]+\*)/).map((part) => {
    if (/^`.+`$/.test(part)) return element('code', {}, part.slice(1, -1));
    if (/^\*\*.+\*\*$/.test(part)) return element('strong', {}, part.slice(2, -2));
    return /^\*.+\*$/.test(part) ? element('em', {}, part.slice(1, -1)) : part;
  });
}
