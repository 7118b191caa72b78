// Reads the status page as a browser would that has no window, and prints what it shows as JSON.
//
// usage: status_page.js ADDRESS [CHANGES]      CHANGES (JSON) replaces fields of what /status says
//
// jsdom knows no Content-Security-Policy: that the page works under its own is not seen here.
const { JSDOM } = require('jsdom')

const [, , address, changes] = process.argv
const patience = setTimeout(() => process.exit(1), 60000)

async function main() {
  const dom = await JSDOM.fromURL(`http://${address}/`, {
    runScripts: 'dangerously',
    pretendToBeVisual: true,
    beforeParse(window) {
      window.fetch = async (path) => {
        const answer = await fetch(new URL(path, window.location.href))
        const status = { ...(await answer.json()), ...JSON.parse(changes ?? '{}') }
        return { ok: answer.ok, status: answer.status, json: async () => status }
      }
    },
  })
  const page = dom.window.document
  while (page.querySelector('main').hidden) await new Promise((done) => setTimeout(done, 20))
  const text = (selector) => page.querySelector(selector).textContent
  const all = (selector) => [...page.querySelectorAll(selector)].map((found) => found.textContent)
  const shown = {
    title: page.title,
    level: text('#verdict .level'),
    verdict: text('#verdict b'),
    more: text('#verdict p'),
    matters: page.querySelector('#matters').hidden ? [] : all('#matters li'),
    unsent: text('#unsent'),
    s3: text('#s3'),
    left: text('#left'),
    logs: all('#logs tr:not(:first-child)'),
    logs_section: text('#logs'),
    about: all('#about tr'),
    hidden: [...page.querySelectorAll('main [hidden]')].map((found) => found.id),
    // What a name or an error could have become.
    injected: page.querySelectorAll('img, i, script:not(:last-of-type)').length,
  }
  console.log(JSON.stringify(shown))
  clearTimeout(patience)
  dom.window.close()
  process.exit(0)
}
main()
